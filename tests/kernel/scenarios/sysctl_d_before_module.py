from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working

FILE = "/etc/sysctl.d/90-conntrack.conf"
KEY = "net.netfilter.nf_conntrack_tcp_timeout_established"


def fault(router):
    # A reboot: systemd-sysctl comes first, and the key is not there yet.
    router.unload_all()
    router.write(FILE, f"{KEY} = 7440\n")
    nft_nat(router)


SCENARIO = Scenario(
    about="sysctl.d was applied before the module was loaded: the value is the default.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, True)},
    before=working("nftables"),
    after={
        **working("nftables"),
        f'sysctl_wanted{{name="{KEY}",source="sysctl.d"}}': 7440,
        f'sysctl_mismatch{{name="{KEY}",source="sysctl.d"}}': 1,
    },
    alerts=frozenset({"NetfilterSysctlNotApplied"}),
    needs_boot=True,
)
