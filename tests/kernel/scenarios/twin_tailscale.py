from lab.scenario import Scenario
from scenarios._hosts import rules

#: What Tailscale 1.78 writes (util/linuxfw/iptables_runner.go).
RULES = """
*nat
:ts-postrouting - [0:0]
-A POSTROUTING -j ts-postrouting
-A ts-postrouting -m mark --mark 0x40000/0xff0000 -j MASQUERADE
COMMIT
"""


def setup(router):
    router.sysctl("net.ipv4.ip_forward", 0)
    router.sysctl("net.ipv6.conf.all.forwarding", 0)
    router.run("iptables-nft-restore --noflush", RULES)


STATE = {
    rules("nftables", "masquerade"): 1,
    'nat_forwarded_rules{family="ipv4"}': 1,
    'forwarding_enabled{family="ipv4"}': 0,
    'conntrack_tracking{family="ipv4"}': 1,
}

SCENARIO = Scenario(
    about="Tailscale on a host that never forwards: a rule for forwarded traffic is not a role.",
    setup=setup,
    works={"host": (True, True)},
    before=STATE,
    after=STATE,
)
