from lab.scenario import Scenario
from scenarios._hosts import NFT_LOCAL, probed, unreached


def setup(router):
    probed(router)
    router.nft(NFT_LOCAL)


def fault(router):
    router.run("nft insert rule ip nat output accept")


SCENARIO = Scenario(
    about="accept stands before dnat in output: what the host itself sends is not translated.",
    setup=setup,
    fault=fault,
    works={"local": (True, False)},
    before=unreached("nftables", "output", "output", 0),
    after=unreached("nftables", "output", "output", 1),
    alerts=frozenset({"NetfilterNatRulesUnreachable"}),
)
