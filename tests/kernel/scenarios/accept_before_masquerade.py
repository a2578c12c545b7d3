from lab.scenario import Scenario
from scenarios._hosts import nft_nat


def fault(router):
    router.run("nft insert rule ip nat postrouting accept")


HIDDEN = 'nat_unreachable_rules{backend="nftables",chain="postrouting",hook="postrouting"}'

SCENARIO = Scenario(
    about="accept stands before masquerade: nothing is translated.",
    setup=nft_nat,
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
