from lab.scenario import Scenario
from scenarios._hosts import nft_nat, working

FIREWALL = """
table inet filter {
  chain input {
    type filter hook input priority 0; policy accept;
    ct state established,related accept
  }
}
"""


def setup(router):
    nft_nat(router)
    router.nft(FIREWALL)


def fault(router):
    router.run("nft delete table ip nat")


SCENARIO = Scenario(
    about="The NAT table is deleted, and a firewall keeps tracking on.",
    setup=setup,
    fault=fault,
    works={"out": (True, False)},
    before=working("nftables"),
    after={'conntrack_tracking{family="ipv4"}': 1, 'nat_rules{family="ipv4"}': 0},
    alerts=frozenset({"NetfilterNatRulesGone"}),
)
