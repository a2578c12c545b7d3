from lab.scenario import Scenario
from scenarios._hosts import nft_published, rules, working

HEALTHY = {
    **working("nftables"),
    'nat_forwarded_rules{family="ipv4"}': 3,
    rules("nftables", "dnat"): 2,
    'nat_readable{backend="legacy"}': 2,
}

SCENARIO = Scenario(
    about="A gateway with nftables alone, which publishes a port too.",
    setup=nft_published,
    works={"out": (True, True), "in": (True, True)},
    before=HEALTHY,
    after=HEALTHY,
)
