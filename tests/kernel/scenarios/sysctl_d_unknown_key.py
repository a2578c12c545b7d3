from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working

FILE = "/etc/sysctl.d/90-conntrack.conf"
KEY = "net.netfilter.nf_conntrack_ipv4_max"


def fault(router):
    router.write(FILE, f"{KEY} = 262144\n")


SCENARIO = Scenario(
    about="sysctl.d names a key that no kernel has.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, True)},
    before=working("nftables"),
    after={
        **working("nftables"),
        f'sysctl_present{{name="{KEY}"}}': 0,
        f'sysctl_wanted{{name="{KEY}",source="sysctl.d"}}': 262144,
        "sysctl_mismatch": None,
    },
    alerts=frozenset({"NetfilterSysctlUnknown"}),
    needs_boot=True,
)
