from lab.scenario import Rises, Scenario
from scenarios._hosts import nft_nat, working


def fault(router):
    router.sysctl("net.ipv4.conf.lan.rp_filter", 1)
    router.run("ip route replace 10.0.1.0/24 via 203.0.113.2")


SCENARIO = Scenario(
    about="rp_filter drops what arrives where no answer would leave.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False), "bulk": (True, True)},
    before=working("nftables"),
    after={
        **working("nftables"),
        'ip_reverse_path_filtered_total{family="ipv4"}': Rises(1000),
        "reverse_path_strict_interfaces": 1,
    },
    alerts=frozenset({"NetfilterReversePathFiltered"}),
)
