from lab.scenario import Scenario
from scenarios._flows import BEFORE, CONFIG, IDLE, LOST, UNTRANSLATED, gateway

UNMATCHABLE = 'nat_unmatchable_rules{reason="empty_set"}'


def setup(router):
    gateway(router)
    router.nft(
        """
flush chain ip nat postrouting
add set ip nat clients { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }
add rule ip nat postrouting oifname "wan" ip saddr @clients counter masquerade
"""
    )


def fault(router):
    router.nft("flush set ip nat clients")
    router.settle()


SCENARIO = Scenario(
    about="The set that masquerade matches is emptied.",
    setup=setup,
    fault=fault,
    works={"outbound": (True, False)},
    before={**BEFORE, UNMATCHABLE: 0},
    after={**LOST, UNMATCHABLE: 1, "nat_matchable_source_rules": 0},
    alerts=UNTRANSLATED | {"NetfilterNatRuleUnmatchable"},
    inhibited=IDLE,
    config=CONFIG,
)
