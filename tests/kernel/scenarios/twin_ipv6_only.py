from lab.scenario import Scenario
from scenarios._hosts import probed, working

RULES = """
table ip6 nat {
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    oifname "wan" masquerade
  }
}
"""
HEALTHY = {
    **working("nftables", family="ipv6"),
    'conntrack_tracking{family="ipv4"}': 0,
    'nat_rules{family="ipv4"}': 0,
}


def setup(router):
    probed(router)
    router.nft(RULES)


SCENARIO = Scenario(
    about="A gateway that translates IPv6 alone.",
    setup=setup,
    works={"out6": (True, True)},
    before=HEALTHY,
    after=HEALTHY,
)
