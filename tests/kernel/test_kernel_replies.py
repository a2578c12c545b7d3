"""Replies that this host gets and drops: connections are translated, and none is established.

Packets are tracked before they are forwarded, so the flow table shows a reply that never reaches
the client. Only a handshake of TCP that stays half-open gives it away.
"""

from __future__ import annotations

import pytest

from support.gateway import CONNECTIONS, Gateway, delivers
from support.router import SERVER, Router

SOURCES = [f"10.77.0.{host}" for host in range(10, 16)]
MASQUERADE = 'oifname "wan0" masquerade'
TIMES = 2  # at least fifty connections are judged
WORKS = (0, {}, f"NAT works: {TIMES * CONNECTIONS}")


@pytest.fixture
def gateway(namespaces):
    """A gateway that works."""
    router = Router(namespaces)
    router.client.sh("; ".join(f"ip address add {source}/24 dev eth0" for source in SOURCES))
    gateway = Gateway(router, router.router, SOURCES)
    gateway.load(MASQUERADE)
    assert gateway.check(TIMES) == WORKS
    return gateway


@pytest.mark.parametrize(
    "filters",
    [
        'policy drop; iifname "lan0" accept',
        'iifname "wan0" drop',
        "ct state vmap { new : accept, established : drop }",
    ],
)
def test_rules_that_drop_replies(gateway, filters):
    """Somebody forgot what is established; with it, the same rules let replies pass."""
    gateway.load(MASQUERADE, filters)
    code, found, _ = gateway.check(TIMES)
    assert code
    assert "NatUnanswered" in found
    assert ("ForwardBlocked" in found) is ("vmap" not in filters)  # what a map holds is not known
    chain, rules = filters.rsplit("; ", 1) if "; " in filters else ("", filters)
    gateway.load(MASQUERADE, f"{chain};ct state established accept; {rules}".lstrip(";"))
    assert gateway.check(TIMES) == WORKS


def test_rules_that_drop_replies_of_one_protocol(gateway):
    """A reply of UDP is tracked before it is dropped, and the client acknowledges none."""
    lan, established = 'iifname "lan0" accept', "ct state established accept"
    for one in "tcp", "udp":
        gateway.load(MASQUERADE, f"policy drop; {lan}; meta l4proto {one} {established}")
        code, found, verdict = gateway.check(TIMES)
        assert code
        assert found["ForwardBlocked"] == "warning"
        assert "works" not in verdict
        assert gateway.client.call(delivers, SERVER) is (one == "tcp")
        assert gateway.answers() == (one == "udp")


def test_rules_that_drop_what_follows(gateway):
    """The client's third packet is tracked before it is dropped: its entry looks established."""
    new, established = "ct state new accept", "ct state established accept"
    gateway.load(MASQUERADE, f'policy drop; {new}; iifname "wan0" {established}')
    code, found, verdict = gateway.check(TIMES)
    assert (code, found) == (1, {"ForwardBlocked": "warning"})
    assert "works" not in verdict
    assert not gateway.client.call(delivers, SERVER)
    gateway.load(MASQUERADE, f"policy drop; {new}; {established}")
    assert gateway.check(TIMES) == WORKS
    assert gateway.client.call(delivers, SERVER)


def test_an_uplink_that_does_not_forward(gateway):
    """Replies arrive there, and are for others; of UDP nothing shows it but the setting."""
    gateway.gateway.sh(f"ip route add default via {SERVER}")
    gateway.gateway.sh("sysctl -q net.ipv4.conf.wan0.forwarding=0")
    for check in gateway.check, gateway.check_datagrams:
        code, found, verdict = check(TIMES)
        assert (code, found) == (1, {"NatUnanswered": "warning"})
        assert "replies that arrive at wan0 do not get to lan0" in verdict
    assert not gateway.answers()


STRICT = "sysctl -q net.ipv4.conf.wan0.rp_filter=1 net.ipv4.conf.lan0.rp_filter=1"
#: Changes of routes, and whether replies come back.
ROUTES = {
    "what arrives at the uplink has the uplink's routes": (
        "ip rule add iif wan0 lookup 100",
        False,
    ),
    "and the network's": (
        "ip route add 10.77.0.0/24 dev lan0 table 100; ip rule add iif wan0 lookup 100",
        True,
    ),
    "what arrives at the uplink for the network is refused": (
        "ip rule add iif wan0 to 10.77.0.0/24 prohibit",
        False,
    ),
    "a way of its own, and strict": (
        f"ip route replace default via 10.77.0.2; ip rule add iif lan0 lookup 100; {STRICT}",
        True,
    ),
    "another uplink": ("ip rule add iif wan9 lookup 100", True),
}


@pytest.mark.parametrize(("commands", "comes_back"), ROUTES.values(), ids=ROUTES)
def test_routes_of_replies(gateway, commands, comes_back):
    """A reply of UDP is tracked before its route is looked up."""
    default = f"ip route add default via {SERVER}"
    gateway.gateway.sh(f"{default}; {default} table 100; {commands}")
    assert gateway.answers() == comes_back
    code, found, verdict = gateway.check_datagrams(TIMES)
    if comes_back:
        assert (code, found, verdict) == WORKS
    else:
        assert (code, found) == (1, {"NatUnanswered": "warning"})
        assert "works" not in verdict
