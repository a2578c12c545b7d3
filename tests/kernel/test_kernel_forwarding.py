"""What is told of forwarding is what happens to a datagram."""

import pytest

from support import inside
from support.namespace import Failed
from support.page import Page
from support.router import CLIENT, SERVER, Router


@pytest.fixture
def network(namespaces):
    """A client, a router without rules, and a server."""
    return Router(namespaces)


def look(network):
    """Return the page of the forwarding collector on the router."""
    return Page(network.router.call(inside.scrape, ("forwarding",)))


def enabled(page, family):
    return page.total("forwarding_enabled", family=family)


def switch(network, *settings):
    network.router.run("sysctl", "-q", *settings)


def test_a_router_forwards(network):
    """Its switches are on, no interface is off, and what passes is counted."""
    before = look(network)
    assert network.source() == CLIENT
    after = look(network)
    assert (enabled(after, "ipv4"), enabled(after, "ipv6")) == (1, 1)
    assert after.samples("interface_forwarding_disabled") == []
    for counter in ("ip_forwarded_total", "ip_out_transmitted_total"):
        grown = after.total(counter, family="ipv4") - before.total(counter, family="ipv4")
        assert grown >= 1, counter


def test_interfaces_that_are_on_forward_while_the_switch_is_off(network):
    """ip_forward=0 with both interfaces' own switches on forwards, and is told to."""
    switch(network, "net.ipv4.ip_forward=0")
    assert (enabled(look(network), "ipv4"), network.source()) == (0, None)
    switch(network, "net.ipv4.conf.lan0.forwarding=1", "net.ipv4.conf.wan0.forwarding=1")
    page = look(network)
    assert network.source() == CLIENT
    assert enabled(page, "ipv4") == 1
    assert page.samples("interface_forwarding_disabled") == []


def test_an_interface_that_is_off_drops_while_the_switch_is_on(network):
    """It is named, and what it drops is counted as an address error."""
    switch(network, "net.ipv4.conf.lan0.forwarding=0")
    before = look(network)
    assert network.source() is None
    after = look(network)
    assert enabled(after, "ipv4") == 1
    (off,) = after.samples("interface_forwarding_disabled")
    assert (off.labels["interface"], off.value) == ("lan0", 1)
    errors = [p.total("ip_in_address_errors_total", family="ipv4") for p in (before, after)]
    assert errors[1] > errors[0]


def test_a_port_of_a_bridge_is_not_named(network):
    """It does not route: its bridge does."""
    network.router.sh(
        "ip link add br0 type bridge; ip link add p0 type veth; ip link set p0 master br0;"
        " sysctl -q net.ipv4.conf.p0.forwarding=0 net.ipv4.conf.br0.forwarding=0"
    )
    named = [s.labels["interface"] for s in look(network).samples("interface_forwarding_disabled")]
    assert named == ["br0"]


def test_ipv6_is_forwarded_by_all_or_by_force(network):
    """conf.all decides; an interface's own switch does not, and force_forwarding does."""
    switch(network, "net.ipv6.conf.all.forwarding=0")
    # Not a router for its hosts any more: the route that the peers use must not depend on it.
    switch(network, "net.ipv6.conf.lan0.forwarding=1", "net.ipv6.conf.wan0.forwarding=1")
    assert (enabled(look(network), "ipv6"), network.source("fd78::2")) == (0, None)
    try:
        switch(network, "net.ipv6.conf.lan0.force_forwarding=1")
    except Failed:
        pytest.skip("this kernel has no force_forwarding")
    assert enabled(look(network), "ipv6") == 1
    assert network.source("fd78::2") == "fd77::2"


@pytest.mark.parametrize(
    ("rules", "backend"),
    [
        ("iptables-legacy -w -P FORWARD DROP", "legacy"),
        ("iptables-nft -w -P FORWARD DROP", "nftables"),
        (
            "nft 'table ip f { chain c { type filter hook forward priority 0; policy drop; }; }'",
            "nftables",
        ),
    ],
)
def test_a_policy_that_drops_is_told(network, rules, backend):
    """What is forwarded and not transmitted is the datagram that the policy dropped."""
    network.router.sh(rules)
    before = look(network)
    assert network.source() is None
    after = look(network)
    assert after.total("forward_policy_drop", backend=backend, family="ipv4") == 1
    assert after.total("forward_policy_drop", family="ipv6") == 0
    grown = [
        after.total(f"ip_{name}_total", family="ipv4")
        - before.total(f"ip_{name}_total", family="ipv4")
        for name in ("forwarded", "out_requests", "out_transmitted")
    ]
    assert grown[0] + grown[1] - grown[2] >= 1


def test_reverse_path_filtering_is_counted(network):
    """A strict filter drops what comes from where no answer would go."""
    assert network.source() == CLIENT  # they know each other's link address now
    switch(network, "net.ipv4.conf.lan0.rp_filter=1", "net.ipv4.conf.all.rp_filter=1")
    network.client.sh("ip address add 203.0.113.9/32 dev eth0; ip route replace default"
                      " via 10.77.0.1 src 203.0.113.9")  # fmt: skip
    before = look(network)
    network.client.call(inside.send, SERVER, 7)
    after = look(network)
    filtered = [p.total("ip_reverse_path_filtered_total") for p in (before, after)]
    assert filtered[1] == filtered[0] + 1
