"""Everything at once that a NAT may leave untranslated or unanswered and still work."""

from lab.peer import ECHO_PORT, exchange
from lab.router import CLIENT, DESTINATIONS, PUBLISHED, ROUTER_WAN, SERVER, SOURCES
from lab.scenario import Rises, Scenario
from scenarios._flows import CONFIG, COUNTED, HITS, births, gateway

#: Routable pods: the server has a route back to them, and nobody translates them.
PODS = ("10.0.1.130", "10.0.1.131", "10.0.1.132")
#: They use the VPN, whose other end has a route back.
TUNNELLED = ("10.0.1.70", "10.0.1.71", "10.0.1.72")
BEHIND_VPN = "198.51.100.130"
SITE = "192.168.50.2"
NODE_PORT = "203.0.113.9"  #: its backend is dead
NOWHERE = tuple(f"203.0.113.{host}" for host in range(100, 112))

RULES = """
flush chain ip nat postrouting
add rule ip nat postrouting ip saddr 10.0.1.128/25 accept
add rule ip nat postrouting ip daddr 192.168.50.0/24 accept
add rule ip nat postrouting oifname "wan" counter masquerade
add chain ip nat prerouting { type nat hook prerouting priority -100; }
add rule ip nat prerouting iifname "wan" tcp dport 8080 counter dnat to 10.0.1.2:7
add rule ip nat prerouting ip daddr 203.0.113.9 counter dnat to 10.0.1.99
"""
FLOWTABLE = """
table ip fastpath {
  flowtable fast { hook ingress priority 0; devices = { lan, wan }; }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ip protocol tcp flow add @fast
  }
}
"""


def setup(router):
    gateway(router)
    router.nft(RULES)
    if router.modules():  # the running kernel may be built without it
        router.nft(FLOWTABLE)
    client, server = router.namespaces
    router.sh(
        *(f"ip -n {client} addr add {host}/24 dev eth0" for host in (*PODS, *TUNNELLED)),
        f"ip -n {server} route add 10.0.1.128/25 via {ROUTER_WAN}",
        f"ip -n {server} addr add {SITE}/24 dev eth0",
        f"ip -n {server} route add 10.0.1.20/30 via {ROUTER_WAN} src {SITE}",
        f"ip route add default via {SERVER}",
        "ip route add 192.168.50.0/24 dev wan",
        f"ip addr add {NODE_PORT}/24 dev wan",
        # The split tunnel.
        f"ip link add vpn type veth peer name vpn netns {server}",
        "ip addr add 10.8.0.1/24 dev vpn",
        "ip link set vpn up",
        "ip route add 198.51.100.128/25 via 10.8.0.2",
        f"ip -n {server} addr add 10.8.0.2/24 dev vpn",
        f"ip -n {server} addr add {BEHIND_VPN}/32 dev lo",
        f"ip -n {server} link set vpn up",
        f"ip -n {server} route add 10.0.1.64/27 via 10.8.0.1",
    )


def meanwhile(router, number):
    """From the fault on, go on as before, and have everybody else begin."""
    if number < 0:
        return
    client, server = router.client, router.server
    for sources, destinations in (
        (PODS, DESTINATIONS),
        (TUNNELLED, [BEHIND_VPN]),
        (SOURCES, [SITE]),
        (SOURCES, [NODE_PORT]),
        ([CLIENT], NOWHERE),  # scans
    ):
        client.outbound(sources, destinations, len(destinations) + 3, 0.1)
    # Two floods with forged sources: of nowhere, and of the LAN; and one from outside.
    client.forged([f"10.{200 + host}.7.{number}" for host in range(10)], SERVER)
    client.forged([f"10.0.1.{200 + host}" for host in range(30)], NOWHERE[number])
    server.forged([f"198.51.100.{host}" for host in range(20)], ROUTER_WAN, PUBLISHED)
    server.outbound([SERVER], [NODE_PORT], 4, 0.1)
    exchange(SERVER, ECHO_PORT, 3, patient=True)
    exchange(NOWHERE[0], ECHO_PORT, 3)


SCENARIO = Scenario(
    about="Routable pods, VPN, site to site, a scanner, floods, dead backends, own traffic.",
    setup=setup,
    meanwhile=meanwhile,
    works={"outbound": (True, True)},
    before={births("none", "no"): 0, COUNTED: 3},
    after={
        births("source", "yes"): Rises(30),
        births("none", "yes"): Rises(30),
        HITS: Rises(30),
        COUNTED: 3,
    },
    config=CONFIG,
)
