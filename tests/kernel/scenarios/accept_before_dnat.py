from lab.scenario import Scenario
from scenarios._hosts import NFT_PUBLISHED, probed


def setup(router):
    probed(router)
    router.nft(NFT_PUBLISHED)


def fault(router):
    router.run("nft insert rule ip nat prerouting accept")


HIDDEN = 'nat_unreachable_rules{backend="nftables",chain="prerouting",hook="prerouting"}'

SCENARIO = Scenario(
    about="accept stands before dnat in prerouting: the published port is dead.",
    setup=setup,
    fault=fault,
    works={"in": (True, False)},
    before={'conntrack_tracking{family="ipv4"}': 1, HIDDEN: 0, "nat_unreachable_rules": 0},
    after={
        'conntrack_tracking{family="ipv4"}': 1,
        HIDDEN: 2,
        "nat_unreachable_rules": 2,
        'forwarding_enabled{family="ipv4"}': 1,
    },
    alerts=frozenset({"NetfilterNatRulesUnreachable"}),
)
