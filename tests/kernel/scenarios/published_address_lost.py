from lab.scenario import Scenario
from scenarios._hosts import nft_published, working

UNMATCHABLE = 'nat_unmatchable_rules{reason="missing_address"}'
PUBLISHED = """
flush chain ip nat prerouting
add rule ip nat prerouting ip daddr 203.0.113.30 tcp dport 8080 dnat to 10.0.1.2:7
add rule ip nat prerouting ip daddr 203.0.113.30 udp dport 8080 dnat to 10.0.1.2:7
"""


def setup(router):
    router.sh("ip addr add 203.0.113.30/24 dev wan")
    nft_published(router)
    router.nft(PUBLISHED)


def fault(router):
    router.sh("ip addr del 203.0.113.30/24 dev wan", "ip addr add 203.0.113.77/24 dev wan")


SCENARIO = Scenario(
    about="The provider gives another address; rules for published ports match the one before.",
    setup=setup,
    fault=fault,
    works={"out": (True, True)},
    before={**working("nftables"), UNMATCHABLE: None, 'nat_forwarded_rules{family="ipv4"}': 3},
    after={**working("nftables"), UNMATCHABLE: 2, 'nat_forwarded_rules{family="ipv4"}': 3},
    alerts=frozenset({"NetfilterNatRuleUnmatchable"}),
)
