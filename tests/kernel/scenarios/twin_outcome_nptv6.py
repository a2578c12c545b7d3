"""A gateway that translates IPv6 prefixes, which conntrack does not see."""

from lab.peer import ECHO_PORT
from lab.router import DESTINATIONS, FAR6, ROUTER_WAN6, SERVER6, SOURCES
from lab.scenario import Rises, Scenario
from scenarios._flows import CONFIG, SLOW, births, gateway

ULA = tuple(f"fd00:1::{host}" for host in range(12, 16))
FAR = (FAR6, *(f"2001:db8:64::{host}" for host in range(2, 6)))
INSIDE, OUTSIDE = "fd00:1::/64", "2001:db8:1::/64"
STATEFUL = """
table inet filter {
  chain forward {
    type filter hook forward priority 0; policy accept;
    ct state established,related accept
  }
}
"""


def setup(router):
    gateway(router)
    router.nft(STATEFUL)
    client, server = router.namespaces
    npt = "ip6tables-legacy -t mangle -A"
    router.sh(
        f"{npt} POSTROUTING -o wan -s {INSIDE} -j SNPT --src-pfx {INSIDE} --dst-pfx {OUTSIDE}",
        f"{npt} PREROUTING -i wan -d {OUTSIDE} -j DNPT --src-pfx {OUTSIDE} --dst-pfx {INSIDE}",
        f"ip -6 route add default via {SERVER6}",
        *(f"ip -n {client} -6 addr add {host}/64 dev eth0 nodad" for host in ULA),
        *(f"ip -n {server} -6 addr add {host}/128 dev lo nodad" for host in FAR),
        f"ip -n {server} -6 route add {OUTSIDE} via {ROUTER_WAN6}",
    )
    router.client.flows(FAR6, ECHO_PORT, 1, patient=True)  # neighbors get to know each other


def meanwhile(router, _):
    """Connections over IPv6; replies are answered, whatever conntrack makes of them."""
    for sources, destinations in ((ULA, FAR), (SOURCES, DESTINATIONS)):
        answered = router.client.outbound(sources, destinations, 15, 0.4, patient=True)
        assert answered == 15, f"{answered} of 15 connections to {destinations} were answered"


SCENARIO = Scenario(
    about="NPTv6 next to masquerade: conntrack sees neither translations nor replies.",
    setup=setup,
    meanwhile=meanwhile,
    after={births("source", "yes"): Rises(30)},
    config=f"nat: required\n{CONFIG}",
    dense=True,
    differences=(SLOW,),
)
