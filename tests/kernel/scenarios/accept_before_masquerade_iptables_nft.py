from lab.scenario import Scenario
from scenarios._hosts import probed


def setup(router):
    probed(router)
    router.run("iptables-nft -t nat -A POSTROUTING -o wan -j MASQUERADE")


def fault(router):
    router.run("iptables-nft -t nat -I POSTROUTING -j ACCEPT")


HIDDEN = 'nat_unreachable_rules{backend="nftables",chain="POSTROUTING",hook="postrouting"}'

SCENARIO = Scenario(
    about="ACCEPT stands before MASQUERADE in iptables-nft: nothing is translated.",
    setup=setup,
    fault=fault,
    works={"out": (True, False)},
    before={'conntrack_tracking{family="ipv4"}': 1, HIDDEN: 0, "nat_unreachable_rules": 0},
    after={
        'conntrack_tracking{family="ipv4"}': 1,
        HIDDEN: 1,
        "nat_unreachable_rules": 1,
        'forwarding_enabled{family="ipv4"}': 1,
    },
    alerts=frozenset({"NetfilterNatRulesUnreachable"}),
)
