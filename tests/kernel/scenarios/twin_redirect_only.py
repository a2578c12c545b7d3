from lab.scenario import Scenario
from scenarios._hosts import probed, rules

RULES = """
table ip nat {
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    iifname "lan" tcp dport 7 redirect to :3128
  }
}
"""


def setup(router):
    probed(router)
    router.sysctl("net.ipv4.ip_forward", 0)
    router.nft(RULES)


HEALTHY = {
    'conntrack_tracking{family="ipv4"}': 1,
    rules("nftables", "redirect"): 1,
    'nat_forwarded_rules{family="ipv4"}': 0,
    'forwarding_enabled{family="ipv4"}': 0,
}

SCENARIO = Scenario(
    about="A transparent proxy: REDIRECT alone, and IPv4 forwarding off.",
    setup=setup,
    works={"host": (True, True)},
    before=HEALTHY,
    after=HEALTHY,
)
