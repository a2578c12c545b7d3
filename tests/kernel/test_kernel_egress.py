"""The interface by which packets leave for the internet, and rules that cannot match there."""

from __future__ import annotations

import pytest

from support import inside
from support.page import Page
from support.router import CLIENT, SERVER, WAN, Router

#: An address of the server that only a default route leads to.
FAR = "20.0.0.1"


def nat(rule):
    return (
        "flush ruleset\ntable ip nat {\n"
        " chain zone { masquerade; }\n"
        f" chain post {{ type nat hook postrouting priority 100; {rule}; }}\n}}\n"
    )


@pytest.fixture
def router(namespaces):
    """A router with a default route, and a second uplink and a tunnel that are not in use."""
    made = Router(namespaces)
    made.router.sh(f"ip route add default via {SERVER}")
    made.server.sh(f"ip address add {FAR}/32 dev lo")
    for name, address in (("wan1", "192.0.2.1/24"), ("tun0", "10.8.0.2/24")):
        made.router.sh(
            f"ip link add {name} type veth peer name x{name}; ip link set x{name} up;"
            f" ip address add {address} dev {name}; ip link set {name} up"
        )
    return made


def load(router, rule):
    router.router.run("nft", "-f", "-", stdin=nat(rule))


def egresses(router):
    """Return whether each egress is uncovered, as a fresh process sees it."""
    page = Page(router.router.call(inside.check, "network_namespace: any").page)
    return {s.labels["interface"]: s.value for s in page.samples("nat_uncovered_egress")}


def found(router, role="required"):
    checked = router.router.call(inside.check, f"network_namespace: any\nnat: {role}")
    return {name: severity for name, severity, _ in checked.found}


@pytest.mark.parametrize(
    "rule",
    [
        'oifname "wan0" masquerade',
        'oif "wan0" masquerade',
        'oifname != "lan0" masquerade',
        'oifname "wan*" masquerade',
        'oifname { "wan0", "wan1" } masquerade',
        'oifname "wan0" goto zone',
        "ip saddr 10.77.0.0/24 masquerade",
        "meta mark 7 masquerade; ip saddr 10.77.0.2 masquerade",
    ],
)
def test_an_egress_that_a_rule_covers(router, rule):
    """Packets leave translated."""
    load(router, rule)
    assert router.source(FAR) == WAN
    assert (egresses(router), found(router)) == ({"wan0": 0}, {})


@pytest.mark.parametrize(
    "rule",
    [
        'oifname "wan1" masquerade',
        'oif "wan1" masquerade',
        'oifname != "wan0" masquerade',
        'oifname { "wan1", "lan0" } masquerade',
        'oifname . ip daddr { "wan1" . 20.0.0.1 } masquerade',
        'oifname "wan1" goto zone',
    ],
)
def test_an_egress_that_no_rule_covers(router, rule):
    """The rules name another uplink, which is present: packets leave untranslated."""
    load(router, rule)
    assert router.source(FAR) == CLIENT
    assert egresses(router) == {"wan0": 1}
    assert found(router) == {"NatEgressUncovered": "warning"}
    assert found(router, "auto") == found(router, "none") == {}


def test_a_tunnel_takes_the_default_route_by_two_halves(router):
    """OpenVPN's def1: the default route stays, and nothing takes it."""
    load(router, 'oifname "tun0" masquerade')
    assert (egresses(router), found(router)) == ({}, {})
    router.router.sh(
        "ip route add 0.0.0.0/1 via 10.8.0.1 dev tun0;"
        " ip route add 128.0.0.0/1 via 10.8.0.1 dev tun0"
    )
    assert (egresses(router), found(router)) == ({"tun0": 0}, {})
    load(router, 'oifname "wan0" masquerade')
    assert egresses(router) == {"tun0": 1}


def test_several_next_hops(router):
    """None is covered, or all; where some are, nothing is said of the others."""
    both = f"nexthop via {SERVER} dev wan0 nexthop via 192.0.2.2 dev wan1"
    router.router.sh(f"ip route replace default {both}")
    load(router, 'oifname { "wan0", "wan1" } masquerade')
    assert (egresses(router), found(router)) == ({"wan0": 0, "wan1": 0}, {})
    load(router, 'oifname "wan1" masquerade')
    assert (egresses(router), found(router)) == ({"wan1": 0}, {})
    load(router, 'oifname "tun0" masquerade')
    assert egresses(router) == {}
    router.router.sh("ip route add default via 10.8.0.1 dev tun0 metric 500")
    assert egresses(router) == {"wan0": 1, "wan1": 1}


def test_rules_for_private_networks_alone(router):
    """A balancer before servers, or the gateway of a VPN: nobody wants the internet translated."""
    for rule in 'oifname "lan0" masquerade', 'oifname { "lan0", "tun0" } masquerade':
        load(router, rule)
        assert (egresses(router), found(router)) == ({}, {})


def test_a_standby_uplink(router):
    """It needs no rule until its route is used."""
    router.router.sh("ip route add default via 192.0.2.2 dev wan1 metric 500")
    load(router, 'oifname "wan0" masquerade')
    assert (egresses(router), found(router)) == ({"wan0": 0}, {})
    router.router.sh(f"ip route del default via {SERVER}")
    assert egresses(router) == {"wan1": 1}


def test_routes_by_mark(router):
    """Packets of the LAN get a mark, and with it another way than the rest: it is covered."""
    router.router.sh(
        f"ip route replace default via 192.0.2.2 dev wan1; ip rule add fwmark 7 table 7;"
        f" ip route add default via {SERVER} dev wan0 table 7"
    )
    marked = "type filter hook prerouting priority mangle; iifname lan0 meta mark set 7;"
    load(router, f'oifname "wan0" masquerade; }}; chain m {{ {marked}')
    assert router.source(FAR) == WAN
    assert (egresses(router), found(router)) == ({}, {})
    load(router, 'oifname "tun0" masquerade')
    router.router.sh("ip route add default via 10.8.0.1 dev tun0 metric 500")
    assert egresses(router) == {"wan1": 1}


def test_routes_by_rule(router):
    """The LAN has a table of its own, as with several providers: its way is asked for."""
    router.router.sh(
        "ip route add default via 192.0.2.2 dev wan1 table 7; ip rule add iif lan0 table 7"
    )
    load(router, 'oifname "wan1" masquerade')
    assert (egresses(router), found(router)) == ({"wan1": 0}, {})


def test_a_network_with_a_table_of_its_own(router):
    """A management network that leads elsewhere is behind a VRF, or gives no egress."""
    load(router, 'oifname "wan0" masquerade')
    router.router.sh(
        "ip link add mgmt type veth peer name xmgmt; ip link set xmgmt up;"
        " ip address add 10.255.0.5/24 dev mgmt; ip link set mgmt up;"
        " ip route add default via 10.255.0.1 dev mgmt table 9; ip rule add iif mgmt table 9"
    )
    assert (egresses(router), found(router)) == ({"wan0": 0}, {})


def test_no_egress_without_forwarding_or_rules(router):
    """A host that does not forward, or has no rule for sources, has no egress to cover."""
    load(router, 'oifname "wan1" masquerade')
    router.router.sh("sysctl -qw net.ipv4.ip_forward=0")
    assert egresses(router) == {}
    router.router.sh("sysctl -qw net.ipv4.ip_forward=1; nft flush ruleset")
    assert egresses(router) == {}


def test_one_alert_for_rules_that_match_nothing(router):
    """Where no rule can match anything, that is the finding: an empty set, a missing interface."""
    load(router, 'oifname "gone0" masquerade')
    assert (egresses(router), found(router)) == ({}, {"NatInterfaceMissing": "warning"})
