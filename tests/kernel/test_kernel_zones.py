"""Conntrack zones at one end of translated connections, dead, and at both, healthy."""

from __future__ import annotations

import pytest

from support import inside
from support.page import Page
from support.router import SERVER, Router

NAT = """
flush ruleset
table ip nat {{
  chain post {{ type nat hook postrouting priority 100; oifname "wan0" masquerade; }}
}}
table ip raw {{
  chain zones {{ ct zone set 5; }}
  chain pre {{ type filter hook prerouting priority raw; {}; }}
}}
"""


@pytest.fixture
def router(namespaces):
    """A router with a default route; the server answers to its address alone."""
    made = Router(namespaces)
    made.router.sh(f"ip route add default via {SERVER}")
    made.server.sh("ip route del default")
    return made


def load(router, rule):
    router.router.run("nft", "-f", "-", stdin=NAT.format(rule))


def split(router):
    """Return the interfaces whose connections are split, as a fresh process sees them."""
    page = Page(router.router.call(inside.check, "network_namespace: any").page)
    return {sample.labels["interface"] for sample in page.samples("nat_split_zone")}


def checked(router):
    """Return what a fresh check finds, without what only says that a sample is missing."""
    found = router.router.call(inside.check, "network_namespace: any\nnat: {ipv4: required}").found
    return {name: (severity, summary) for name, severity, summary in found}


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ('iifname "lan0" ct zone set 5', "rule 1 of chain pre"),
        ('iif "lan0" ct zone set 5', "rule 1 of chain pre"),
        ('iifname "wan0" ct zone set 5', "rule 1 of chain pre"),
        ('tcp dport 1; iifname "lan0" jump zones', "rule 1 of chain zones"),
    ],
)
def test_a_zone_at_one_end(router, rule, named):
    """No reply is translated back; the rule is named."""
    load(router, "tcp dport 1")
    assert (router.answers(times=3), split(router)) == (3, set())
    load(router, rule)
    router.router.run("conntrack", "-F")
    assert router.answers(times=3) == 0
    assert split(router) == {"lan0"}
    severity, summary = checked(router)["NatZoneSplit"]
    assert severity == "warning"
    assert named in summary


def test_without_a_default_route(router):
    """The network of the server is a way out too, but not where nothing translates."""
    router.router.sh("ip route del default")
    load(router, 'iifname "lan0" ct zone set 5')
    assert (router.answers(times=3), split(router)) == (0, {"lan0"})
    router.router.sh(
        "nft flush chain ip nat post; nft add rule ip nat post oifname eth9 masquerade"
    )
    assert split(router) == set()


@pytest.mark.parametrize(
    "rule",
    [
        "ct zone set 5",
        'iifname { "lan0", "wan0" } ct zone set 5',
        'iifname "lan0" ct original zone set 5',
        'iifname "lo" ct zone set 5',
        'iifname "lan0" ip saddr 10.77.0.9 ct zone set 5',
        'ct zone set iifname map { "lan0" : 5 }',
    ],
)
def test_zones_that_are_no_split_or_cannot_be_decided(router, rule):
    """Nothing is told; what is dead among these has other matches than interfaces."""
    load(router, rule)
    assert split(router) == set()
    assert "NatZoneSplit" not in checked(router)


def test_legacy_rules(router):
    """So it is with iptables-legacy."""
    router.router.sh(
        "iptables-legacy -w -t nat -A POSTROUTING -o wan0 -j MASQUERADE;"
        " iptables-legacy -w -t raw -A PREROUTING -i lan0 -j CT --zone-orig 5"
    )
    assert (router.answers(times=3), split(router)) == (3, set())
    router.router.sh(
        "iptables-legacy -w -t raw -F;"
        " iptables-legacy -w -t raw -A PREROUTING -i lan0 -j CT --zone 5; conntrack -F"
    )
    assert (router.answers(times=3), split(router)) == (0, {"lan0"})
    router.router.sh("iptables-legacy -w -t raw -A PREROUTING -i wan0 -j CT --zone 5; conntrack -F")
    assert (router.answers(times=3), split(router)) == (3, set())
