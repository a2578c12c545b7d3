from lab.scenario import Scenario
from scenarios._hosts import nft_nat, unreached

HIDING = """
table ip nat {
  chain early { meta l4proto 250 return; }
  chain local { ip daddr 192.0.2.0/24 drop; accept; }
}
insert rule ip nat postrouting jump local
insert rule ip nat postrouting jump early
"""


def fault(router):
    router.nft(HIDING)


SCENARIO = Scenario(
    about="A chain that is jumped to accepts every packet: none comes back to be translated.",
    setup=nft_nat,
    fault=fault,
    works={"out": (True, False)},
    before=unreached("nftables", "postrouting", "postrouting", 0),
    after=unreached("nftables", "postrouting", "postrouting", 1),
    alerts=frozenset({"NetfilterNatRulesUnreachable"}),
)
