"""Hosts that translate no source, all in one: whatever leaves them keeps its address."""

from lab.bridge import PODS
from lab.peer import ECHO_PORT
from lab.router import DESTINATIONS, FAR6, ROUTER_WAN, ROUTER_WAN6, SERVER, SERVER6
from lab.scenario import Rises, Scenario
from scenarios._flows import CONFIG, COUNTED, HITS, SLOW, births, population

PROXY = 3129
VIRTUAL_MACHINES = tuple(f"10.94.0.{host}" for host in range(20, 25))
UPSTREAM = "198.51.100.10"  #: of the virtual machines, in the bridge
FAR = (FAR6, *(f"2001:db8:64::{host}" for host in range(2, 6)))
GLOBAL = tuple(f"2001:db8:1::{host}" for host in range(2, 6))
ULA = tuple(f"fd00:1::{host}" for host in range(12, 16))

#: A balancer, one of whose backends is dead; a proxy gets some connections by REDIRECT and TPROXY.
RULES = f"""
table ip nat {{
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    iifname "wan" tcp dport 8080 counter dnat to 10.0.1.2:7
    iifname "wan" udp dport 8080 counter dnat to 10.0.1.2:7
    ip daddr 203.0.113.9 counter dnat to 10.0.1.99
    iifname "lan" ip daddr {DESTINATIONS[1]} tcp dport 7 counter redirect to :{PROXY}
  }}
}}
table inet mangle {{
  chain prerouting {{
    type filter hook prerouting priority -150; policy accept;
    iifname "lan" ip daddr {DESTINATIONS[0]} tcp dport 7 tproxy ip to :{PROXY} mark set 1 accept
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    ct state established,related accept
  }}
}}
"""


def setup(router):
    population(router)
    router.nft(RULES)
    router.listen(PROXY)
    client, server = router.namespaces
    router.sh(
        # Double NAT: who translates has a route back to the LAN.
        f"ip -n {server} route add 10.0.1.0/24 via {ROUTER_WAN}",
        "ip addr add 203.0.113.9/24 dev wan",
        f"ip route add default via {SERVER}",
        "ip rule add fwmark 1 lookup 100",
        "ip route replace local 0.0.0.0/0 dev lo table 100",  # a guest keeps it
        "ip -6 addr add 2001:db8:1::1/64 dev lan nodad",
        f"ip -6 route add default via {SERVER6}",
        *(f"ip -n {client} -6 addr add {host}/64 dev eth0 nodad" for host in (*GLOBAL, *ULA)),
        *(f"ip -n {server} -6 addr add {host}/128 dev lo nodad" for host in FAR),
        f"ip -n {server} -6 route add 2001:db8:1::/64 via {ROUTER_WAN6}",
    )
    client6 = router.client.flows(FAR6, ECHO_PORT, 1, patient=True)
    assert client6, "IPv6 does not work"  # and neighbors know each other
    if router.modules():
        router.run("modprobe br_netfilter")
    router.bridge()
    virtual, upstream = router.namespaces[2:]
    router.sh(
        *(f"ip -n {virtual} addr add {host}/24 dev eth0" for host in VIRTUAL_MACHINES),
        f"ip -n {virtual} route add 198.51.100.0/24 via {PODS[1]}",
        f"ip -n {upstream} addr add {UPSTREAM}/32 dev lo",
    )


def meanwhile(router, _):
    """Connections of all kinds; those from unique local addresses to the world get no reply."""
    client, server = router.client, router.server
    answered = (
        router.pods[0].outbound(VIRTUAL_MACHINES, [UPSTREAM], 5, 0.2, patient=True),
        client.outbound(GLOBAL, FAR, 5, 0.2, patient=True),
        client.outbound(ULA, FAR, 15, 0.2),
    )
    assert answered == (5, 5, 0), answered
    server.outbound([SERVER], ["203.0.113.9"], 10, 0.1)


SCENARIO = Scenario(
    about="A balancer, double NAT, REDIRECT and TPROXY, IPv6 without NAT, bridged machines.",
    setup=setup,
    fault=lambda _: None,
    meanwhile=meanwhile,
    works={"outbound": (True, True), "in": (True, True)},
    before={COUNTED: 4},
    after={
        births("none", "yes"): Rises(30),
        births("source", "no"): 0,
        HITS: Rises(30),
        COUNTED: 4,
    },
    config=CONFIG,
    dense=True,
    differences=(SLOW,),
)
