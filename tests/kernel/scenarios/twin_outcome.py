"""Everything at once that a NAT may leave untranslated or unanswered and still work."""

from lab.scenario import Rises, Scenario
from scenarios._flows import CONFIG, births, gateway

#: Pods are routable: the server has a route back to them, and nobody translates them.
RULES = """
flush chain ip nat postrouting
add rule ip nat postrouting ip saddr 10.0.1.128/25 accept
add rule ip nat postrouting oifname "wan" masquerade
add chain ip nat prerouting { type nat hook prerouting priority -100; }
add rule ip nat prerouting iifname "wan" tcp dport 8080 dnat to 10.0.1.2:7
add rule ip nat prerouting iifname "wan" tcp dport 8081 dnat to 10.0.1.99:7
"""


def setup(router):
    gateway(router)
    router.nft(RULES)
    client, server = router.namespaces
    router.sh(
        f"ip -n {client} addr add 10.0.1.130/24 dev eth0",
        f"ip -n {client} addr add 10.0.1.131/24 dev eth0",
        f"ip -n {client} addr add 10.0.1.132/24 dev eth0",
        f"ip -n {server} route add 10.0.1.128/25 via 203.0.113.1",
        f"ip -n {server} addr add 192.168.50.2/24 dev eth0",
        "ip route add 192.168.50.0/24 dev wan",
    )


def fault(router):
    """Go on as before, and have a host scan, one flood with forged sources, and others."""
    router.twins()


SCENARIO = Scenario(
    about="Routable pods, a scanner, a forged flood, dead backends, own and site-to-site traffic.",
    setup=setup,
    fault=fault,
    works={"outbound": (True, True)},
    meant=True,
    before={births("none", "no"): 0},
    after={births("source", "yes"): Rises(30), births("none", "yes"): Rises(0)},
    config=CONFIG,
)
