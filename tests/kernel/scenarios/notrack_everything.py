from lab.scenario import Scenario
from scenarios._hosts import nft_nat, rules, working

RAW = """
table ip raw {
  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    notrack
  }
}
"""


def fault(router):
    router.nft(RAW)


SCENARIO = Scenario(
    about="A notrack rule without a match exempts all that is received: nothing is translated.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={
        "conntrack_present": 1,
        'conntrack_tracking{family="ipv4"}': 0,
        rules("nftables", "masquerade"): 1,
        'notrack_rules{backend="nftables",family="ipv4"}': 1,
    },
    alerts=frozenset({"NetfilterConntrackDisabled", "NetfilterNotrackRules"}),
)
