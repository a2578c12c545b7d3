from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working

RAW = """
table ip raw {
  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    iifname "lan" notrack
  }
}
"""


def fault(router):
    router.nft(RAW)


SCENARIO = Scenario(
    about="A notrack rule exempts the client's packets from tracking, and so from NAT.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before={**working("nftables"), "notrack_rules": 0},
    after={**working("nftables"), 'notrack_rules{backend="nftables",family="ipv4"}': 1},
    alerts=frozenset({"NetfilterNotrackRules"}),
)
