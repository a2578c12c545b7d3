from lab.scenario import Scenario
from scenarios._hosts import NFT_PUBLISHED, probed, unreached


def setup(router):
    probed(router)
    router.nft(NFT_PUBLISHED)


def fault(router):
    router.run("nft insert rule ip nat prerouting accept")


SCENARIO = Scenario(
    about="accept stands before dnat in prerouting: the published port is dead.",
    setup=setup,
    fault=fault,
    works={"in": (True, False)},
    before=unreached("nftables", "prerouting", "prerouting", 0),
    after=unreached("nftables", "prerouting", "prerouting", 2),
    alerts=frozenset({"NetfilterNatRulesUnreachable"}),
)
