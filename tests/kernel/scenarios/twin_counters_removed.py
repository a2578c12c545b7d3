from lab.scenario import Rises, Scenario
from scenarios._flows import BEFORE, CONFIG, COUNTED, HITS, births, gateway
from scenarios._hosts import NFT_MASQUERADE


def fault(router):
    router.nft(f"flush ruleset\n{NFT_MASQUERADE}")
    router.exporter.scrape()
    router.settle(2.0)


SCENARIO = Scenario(
    about="A reload replaces rules with a counter by rules without: their hits end, NAT does not.",
    setup=gateway,
    fault=fault,
    works={"outbound": (True, True)},
    before=BEFORE,
    after={births("source", "yes"): Rises(30), HITS: None, COUNTED: None},
    config=CONFIG,
)
