from lab.scenario import Scenario
from scenarios._hosts import probed
from scenarios._remedy import follow
from scenarios.br_netfilter_not_loaded import KEY, RULES


def setup(router):
    probed(router)
    router.run("modprobe br_netfilter")
    router.bridge()
    router.nft(RULES)


def fault(router):
    router.sysctl(KEY, 0)
    router.run("conntrack -F")


SCENARIO = Scenario(
    about="A program sets bridge-nf-call-iptables to 0: a service on the same bridge fails.",
    setup=setup,
    fault=fault,
    works={"bridged": (True, False)},
    before={'bridge_netfilter{family="ipv4"}': 1, 'nat_bypassing_bridges{family="ipv4"}': 0},
    after={'bridge_netfilter{family="ipv4"}': 0, 'nat_bypassing_bridges{family="ipv4"}': 1},
    alerts=frozenset({"NetfilterBridgeNatBypassed"}),
    check=follow("SysctlNotApplied", flows=("bridged",), config=f"sysctls: {{{KEY}: 1}}\n"),
    needs_boot=True,
)
