from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working


def fault(router):
    router.nft("add table ip nat { flags dormant; }")


SCENARIO = Scenario(
    about="The table is made dormant: its rules are listed, and nothing is translated.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={
        'nat_rules{family="ipv4"}': 0,
        'nat_dormant_rules{family="ipv4",table="nat"}': 1,
    },
    alerts=frozenset({"NetfilterNatRulesGone", "NetfilterNatRulesUnreachable"}),
)
