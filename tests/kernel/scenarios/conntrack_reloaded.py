from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working

LIMIT = 40000
FILE = "/etc/sysctl.d/90-conntrack.conf"
WANTED = f"net.netfilter.nf_conntrack_max = {LIMIT}\nnet.netfilter.nf_conntrack_acct = 1\n"


def apply(router):
    for line in WANTED.splitlines():
        name, _, value = line.partition(" = ")
        router.sysctl(name, value)


def setup(router):
    nft_nat(router)
    router.write(FILE, WANTED)
    # Some drops, so that there is something that the reload can reset.
    router.sysctl("net.netfilter.nf_conntrack_max", 5)
    router.client.flows("203.0.113.2", 7, 100)
    apply(router)


def fault(router):
    router.unload_all()
    nft_nat(router)


BEFORE = {**working("nftables"), "conntrack_entries_limit": LIMIT, "sysctl_mismatch": 0}

SCENARIO = Scenario(
    about="Modules and rules are loaded again: NAT works, and every sysctl has its default.",
    setup=setup,
    fault=fault,
    works={"out": (True, True)},
    before={**BEFORE, 'sysctl{name="net.netfilter.nf_conntrack_acct"}': 1},
    after={
        **working("nftables"),
        "sysctl_mismatch": 2,
        'sysctl_mismatch{name="net.netfilter.nf_conntrack_max",source="sysctl.d"}': 1,
        'sysctl{name="net.netfilter.nf_conntrack_acct"}': 0,
        "conntrack_drop_total": 0,
    },
    alerts=frozenset({"NetfilterSysctlNotApplied"}),
    needs_boot=True,
)
