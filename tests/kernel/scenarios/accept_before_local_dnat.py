from lab.scenario import Scenario
from scenarios._hosts import NFT_LOCAL, probed


def setup(router):
    probed(router)
    router.nft(NFT_LOCAL)


def fault(router):
    router.run("nft insert rule ip nat output accept")


HIDDEN = 'nat_unreachable_rules{backend="nftables",chain="output",hook="output"}'

SCENARIO = Scenario(
    about="accept stands before dnat in output: what the host itself sends is not translated.",
    setup=setup,
    fault=fault,
    works={"local": (True, False)},
    before={'conntrack_tracking{family="ipv4"}': 1, HIDDEN: 0, "nat_unreachable_rules": 0},
    after={
        'conntrack_tracking{family="ipv4"}': 1,
        HIDDEN: 1,
        "nat_unreachable_rules": 1,
        'forwarding_enabled{family="ipv4"}': 1,
    },
    alerts=frozenset({"NetfilterNatRulesUnreachable"}),
)
