"""Ports of translated addresses in the running kernel, with real flows."""

import re

import pytest

from support import hits, ports
from support.router import PORT, SERVER, WAN, Router

SNAT = """
flush ruleset
table ip nat {{
 chain post {{ type nat hook postrouting priority 100; {rule}; }}
}}
"""
UDP = ("ipv4", "udp", WAN)


@pytest.fixture(name="router")
def _router(namespaces):
    made = Router(namespaces)
    made.router.sh("sysctl -q net.netfilter.nf_conntrack_udp_timeout=600")
    assert made.answers() == 1
    made.router.sh("conntrack -F")
    return made


def load(router, rule):
    router.router.run("nft", "-f", "-", stdin=SNAT.format(rule=rule))


def truth(router):
    """Return how many flows the kernel lists towards the destination."""
    listed = router.router.sh(f"conntrack -L -p udp --dport {PORT} 2>/dev/null")
    return len(re.findall(rf"src={SERVER} dst={WAN} sport={PORT} ", listed))


def test_the_ports_of_a_range(router):
    """Counted in a sample that holds the whole table; without a range there are 64 512."""
    load(router, f"ip protocol icmp snat to {WAN}; ip protocol udp snat to {WAN}:10000-10999")
    router.client.call(hits.open_flows, SERVER, PORT, 900)
    router.client.call(ports.open_towards_many, SERVER, 20000, 50)
    ratio, size = router.router.call(ports.look)
    assert size == {UDP: 1000}
    used = truth(router)
    assert used == 900
    assert ratio == {UDP: used / 1000}
    load(router, "oifname wan0 masquerade")
    ratio, size = router.router.call(ports.look)
    assert size == {UDP: 64512}
    assert ratio == {UDP: round(used / 64512, 4)}


def test_a_table_larger_than_a_sample(router):
    """The kernel counts the flows of the destination that the sample found."""
    load(router, f"meta l4proto {{ tcp, udp }} snat to {WAN}:10000-13999")
    for _ in range(6):
        router.client.call(hits.open_flows, SERVER, PORT, 500)
    router.client.call(ports.open_towards_many, SERVER, 20000, 5000)
    ratio, size = router.router.call(ports.look)
    assert size == {UDP: 4000}
    used = truth(router)
    assert used == 3000
    assert ratio[UDP] == pytest.approx(used / 4000, rel=0.01)


@pytest.mark.parametrize("used", [500, 800, 1000])
def test_a_range_of_a_thousand_next_to_others(router, used):
    """Within a tenth of the truth. The kernel does not find the last free ones."""
    load(router, f"meta l4proto {{ tcp, udp }} snat to {WAN}:10000-10999")
    for first in range(0, used, 500):
        router.client.call(hits.open_flows, SERVER, PORT, min(used - first, 500))
    router.client.call(ports.open_towards_many, SERVER, 20000, 12000)
    ratio, size = router.router.call(ports.look)
    assert size == {UDP: 1000}
    assert used * 0.95 <= truth(router) <= used
    assert ratio[UDP] == pytest.approx(truth(router) / 1000, rel=0.1)


@pytest.mark.parametrize(
    "rule",
    [
        (
            f"ip daddr 192.0.2.1 udp dport 53 snat to {WAN}:5000-5999;"
            f" ip protocol udp snat to {WAN}:10000-10999"
        ),
        f"snat to ip saddr map {{ 10.0.0.0/8 : {WAN} }}",
    ],
)
def test_an_unknown_range_has_no_ratio(router, rule):
    """Rules with different ranges, and addresses out of a map."""
    load(router, rule)
    router.client.call(hits.open_flows, SERVER, PORT, 50)
    assert router.router.call(ports.look) == ({}, {})
