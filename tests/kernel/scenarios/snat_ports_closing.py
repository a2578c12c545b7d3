from lab.router import DESTINATIONS, SOURCES
from lab.scenario import Difference, Rises, Scenario, UpTo
from scenarios._flows import CONFIG, gateway

#: So few ports that a kernel that evicts tries all of them: NF_NAT_HARDER_THRESH in
#: net/netfilter/nf_nat_core.c (v6.18).
PORTS, HELD = ":2000-2015", 4  #: the latter by connections that go on
SNAT = """
flush chain ip nat postrouting
add rule ip nat postrouting oifname "wan" meta l4proto tcp snat to 203.0.113.1{ports}
"""
USED = 'snat_ports_used_ratio{protocol="tcp",address="203.0.113.1"}'


def setup(router):
    gateway(router)
    router.nft(SNAT.format(ports=""))


def fault(router):
    router.nft(SNAT.format(ports=PORTS))
    router.exporter.scrape()
    router.client.hold(DESTINATIONS[0], HELD)
    for _ in range(4):
        router.client.outbound(SOURCES, DESTINATIONS, 15, 0.3, patient=True)


def meanwhile(router, _):
    """Connections that end at once. On an emulated CPU some are reset, which frees ports early."""
    router.client.outbound(SOURCES, DESTINATIONS, 5, 0.3, patient=True)


SCENARIO = Scenario(
    about="Closed connections hold all ports of an SNAT rule: newer kernels use them again.",
    setup=setup,
    fault=fault,
    meanwhile=meanwhile,
    before={"conntrack_insert_failed_total": 0},
    # An entry is evicted if its sequence number is behind the new one, which is chance.
    after={"conntrack_insert_failed_total": UpTo(10), USED: UpTo(0.8)},
    config=CONFIG,
    differences=(
        Difference(
            because="Before 6.5 no entry in TIME_WAIT is evicted. Its port counts as free, for"
            " nothing shows what the kernel does: the failed connections do.",
            applies=lambda version: version < (6, 5),
            after={"conntrack_insert_failed_total": Rises(10)},
            alerts=frozenset({"NetfilterNatPortsExhausted"}),
        ),
    ),
)
