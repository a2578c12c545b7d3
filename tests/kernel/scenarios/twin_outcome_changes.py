"""A gateway to which everything happens that a gateway lives through."""

from lab.router import DESTINATIONS, LAN, ROUTER_LAN, SOURCES, WAN
from lab.scenario import Rises, Scenario
from scenarios._flows import CONFIG, COUNTED, HITS, SLOW, births, gateway, resize

#: The address that masquerade takes; the one of the lab is the next.
LEASED = "203.0.113.40"


def setup(router):
    gateway(router)
    router.sysctl("net.ipv4.conf.wan.promote_secondaries", 1)
    router.sh(
        f"ip addr flush dev {WAN} scope global",
        f"ip addr add {LEASED}/24 dev {WAN}",
        f"ip addr add 203.0.113.1/24 dev {WAN}",
    )


def _flush(router):
    router.run("conntrack -F")


def _resize(router):
    if router.emulated:
        resize(router, 512 if router.dense else 1 << 15)


def _lease(router):
    """DHCP gives another address."""
    router.run(f"ip addr del {LEASED}/24 dev {WAN}")


def _leave(router):
    """Another router takes over what the LAN sends to."""
    router.run(f"ip addr del {ROUTER_LAN}/24 dev {LAN}")


def _return(router):
    router.run(f"ip addr add {ROUTER_LAN}/24 dev {LAN}")


EVENTS = {0: _flush, 1: _resize, 2: _lease, 3: _leave, 5: _return}
#: Scrapes before which the LAN has no new connection: those of the failover, and the night.
AWAY = frozenset({3, 4, 7, 8, 9})


def meanwhile(router, number):
    if number in EVENTS:
        EVENTS[number](router)
    if number not in AWAY:
        answered = router.client.outbound(SOURCES, DESTINATIONS, 15, 0.4, patient=True)
        assert answered == 15, f"{answered} of 15 connections were answered at {number}"


SCENARIO = Scenario(
    about="Flows flushed, the table resized, a new address, a failover and its return, a night.",
    setup=setup,
    meanwhile=meanwhile,
    before={births("none", "no"): 0, COUNTED: 1},
    after={
        births("source", "yes"): Rises(30),
        births("none", "no"): 0,
        HITS: Rises(30),
        COUNTED: 1,
    },
    config=CONFIG,
    dense=True,
    differences=(SLOW,),
)
