from lab.scenario import Scenario
from scenarios._hosts import UNTRACKED, probed

FIREWALL = """
table inet filter {
  chain forward {
    type filter hook forward priority 0; policy accept;
    ct state established,related accept
  }
}
"""


def setup(router):
    probed(router)
    router.nft(FIREWALL)


def fault(router):
    router.run("nft flush chain inet filter forward")


SCENARIO = Scenario(
    about="A stateful firewall without NAT loses its last rule that needs tracking.",
    setup=setup,
    fault=fault,
    works={"host": (True, True)},
    before={
        'conntrack_tracking{family="ipv4"}': 1,
        'conntrack_tracking{family="ipv6"}': 1,
        'nat_rules{family="ipv4"}': 0,
    },
    after={**UNTRACKED, 'conntrack_tracking{family="ipv6"}': 0},
    alerts=frozenset({"NetfilterConntrackStopped"}),
)
