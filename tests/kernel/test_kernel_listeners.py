"""Rules that send connections to this host, and programs that listen for them or do not."""

import contextlib
import socket

import pytest

from netfilter_exporter.facts import listeners
from support import inside
from support.page import Page
from support.router import CLIENT, LAN, SERVER, WAN, Router

PORT = 12345
CONFIGURATION = "network_namespace: any"
_LISTENING = []


def listen(address, port=PORT):
    """Take connections to a port; one after the other are sent back what they send."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = socket.socket(family)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((address, port))
    opened.listen()
    _LISTENING.append(opened)


def take(address, port=PORT):
    """Take datagrams at a port."""
    opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.settimeout(0.5)
    opened.bind((address, port))
    _LISTENING.append(opened)


def echo():
    """Send back the next datagram at each of these ports."""
    for opened in _LISTENING:
        with contextlib.suppress(socket.timeout):
            if opened.type == socket.SOCK_DGRAM:
                opened.sendto(*opened.recvfrom(64))


def take_from(address, port=PORT):
    """Take datagrams of one peer alone."""
    take("0.0.0.0", port)
    _LISTENING[-1].connect((address, 9))


def fall_silent():
    """Close all of these sockets."""
    while _LISTENING:
        _LISTENING.pop().close()


def connects(address=SERVER, port=80):
    """Return whether a TCP connection comes about."""
    with contextlib.suppress(OSError):
        socket.create_connection((address, port), timeout=0.5).close()
        return True
    return False


def read_at_once():
    """Let the exporter read sockets at each scrape."""
    listeners._AGE = 0.0


@pytest.fixture
def router(namespaces):
    made = Router(namespaces)
    made.router.call(read_at_once)
    made.router.run("nft", "-f", "-", stdin=nat())
    return made


def nat(rule="return"):
    """Return a table that masquerades, with a rule for what arrives."""
    return f"""
table ip nat {{
  chain post {{ type nat hook postrouting priority 100; oifname "wan0" masquerade; }}
  chain to {{ type nat hook prerouting priority -100; {rule}; }}
}}
"""


def load(router, rule):
    router.router.run("nft", "-f", "-", stdin=f"flush ruleset\n{nat(rule)}")


def lost(router):
    """Return how many rules lost their program, of one process that goes on."""
    page = Page(router.router.call(inside.scrape, ("nat",)))
    return page.total("nat_unmatchable_rules", reason="no_listener") or 0


def checked(router):
    """Return what a fresh `check` finds, with its severities."""
    found = router.router.call(inside.check, CONFIGURATION).found
    return {name: severity for name, severity, _ in found}


REFUSED = {"NatRuleUnmatchable": "info"}
REDIRECT = f"tcp dport 80 redirect to :{PORT}"
#: A rule, where its program listens, and where another listens whom nothing reaches.
CASES = {
    "redirect": (REDIRECT, ("0.0.0.0", PORT), ("0.0.0.0", PORT + 1)),
    "redirect-to-loopback-only": (REDIRECT, (LAN, PORT), ("127.0.0.1", PORT)),
    "a-socket-of-both-families": (REDIRECT, ("::", PORT), ("::", PORT + 1)),
    "redirect-without-a-port": ("tcp dport 80 redirect", ("0.0.0.0", 80), ("0.0.0.0", PORT)),
    "dnat-to-this-host": (f"tcp dport 80 dnat to {LAN}:{PORT}", (LAN, PORT), (WAN, PORT)),
    "dnat-of-the-address-alone": (f"tcp dport 80 dnat to {LAN}", ("0.0.0.0", 80), ("0.0.0.0", 81)),
    "a-range": (f"tcp dport 80 redirect to :{PORT}-{PORT}", ("0.0.0.0", PORT), (LAN, PORT - 1)),
}


@pytest.mark.parametrize(("rule", "program", "another"), CASES.values(), ids=CASES)
def test_a_program_that_is_missing(router, rule, program, another):
    """Connections are refused; it is a fault where a program was there within the day."""
    load(router, rule)
    router.router.call(listen, *another)
    assert (router.client.call(connects), router.source()) == (False, WAN)
    assert (lost(router), checked(router)) == (0, REFUSED)
    router.router.call(listen, *program)
    assert router.client.call(connects)
    assert (lost(router), checked(router)) == (0, {})
    router.router.call(fall_silent)
    assert not router.client.call(connects)
    assert (lost(router), checked(router)) == (1, REFUSED)
    router.router.call(listen, *program)
    assert (router.client.call(connects), lost(router)) == (True, 0)


#: The same of UDP, as for a resolver.
DATAGRAMS = {
    "redirect": (f"udp dport 53 redirect to :{PORT}", "0.0.0.0", ("0.0.0.0", PORT + 1)),
    "redirect-to-loopback-only": (f"udp dport 53 redirect to :{PORT}", LAN, ("127.0.0.1", PORT)),
    "a-socket-of-both-families": (f"udp dport 53 redirect to :{PORT}", "::", ("::", PORT + 1)),
    "dnat-to-this-host": (f"udp dport 53 dnat to {LAN}:{PORT}", LAN, (WAN, PORT)),
}


def is_answered(router):
    """Return whether a program of the router answers what the client asks another host."""
    router.client.call(inside.ask, SERVER, 53, 0)
    router.router.call(echo)
    return router.client.call(inside.answered, 0)


@pytest.mark.parametrize(("rule", "program", "another"), DATAGRAMS.values(), ids=DATAGRAMS)
def test_a_resolver_that_is_missing(router, rule, program, another):
    """Of UDP likewise, where TCP is taken, or a socket that hears one peer alone."""
    load(router, rule)
    router.router.call(take, *another)
    router.router.call(listen, "0.0.0.0")
    router.router.call(take_from, SERVER)
    assert (is_answered(router), lost(router), checked(router)) == (False, 0, REFUSED)
    router.router.call(fall_silent)
    router.router.call(take, program)
    assert (is_answered(router), lost(router), checked(router)) == (True, 0, {})
    router.router.call(fall_silent)
    assert (is_answered(router), lost(router), checked(router)) == (False, 1, REFUSED)
    router.router.call(take, program)
    assert (is_answered(router), lost(router)) == (True, 0)


#: Several protocols, other hosts, and ports that are not known.
NOT_JUDGED = {
    "both": f"meta l4proto {{ tcp, udp }} th dport 80 redirect to :{PORT}",
    "another-host": f"tcp dport 80 dnat to {CLIENT}:{PORT}",
    "some-hosts": f"tcp dport 80 dnat to {LAN}-{CLIENT}:{PORT}",
    "a-map": "meta l4proto tcp redirect to :tcp dport map { 80 : 81 }",
}


@pytest.mark.parametrize("rule", NOT_JUDGED.values(), ids=NOT_JUDGED)
def test_what_is_not_judged(router, rule):
    """Nothing is said of these."""
    load(router, rule)
    assert (lost(router), checked(router)) == (0, {})


@pytest.mark.parametrize("tool", ["iptables-legacy", "iptables-nft"])
@pytest.mark.parametrize(("chain", "address"), [("PREROUTING", LAN), ("OUTPUT", "127.0.0.1")])
def test_both_iptables(router, tool, chain, address):
    """A chain as redsocks has it; what this host sends goes to loopback."""
    router.router.sh(
        f"nft flush ruleset; {tool} -t nat -N REDSOCKS;"
        f" {tool} -t nat -A REDSOCKS -d 10.0.0.0/8 -j RETURN;"
        f" {tool} -t nat -A REDSOCKS -p tcp -j REDIRECT --to-ports {PORT};"
        f" {tool} -t nat -A {chain} -p tcp -j REDSOCKS"
    )
    sender = router.client if chain == "PREROUTING" else router.router
    assert not sender.call(connects)
    assert checked(router) == REFUSED
    router.router.call(listen, address)
    assert sender.call(connects)
    assert (lost(router), checked(router)) == (0, {})
    router.router.call(fall_silent)
    assert lost(router) == 1


def test_what_the_verdict_says(router):
    """Where other connections are translated, it does not say that NAT works."""
    load(router, REDIRECT)

    def verdict():
        router.router.call(inside.begin_check, CONFIGURATION)
        assert router.answers(times=5) == 5
        return router.router.call(inside.end_check)[1]

    refused = verdict()
    router.router.call(listen, "0.0.0.0")
    heard = verdict()
    assert refused.startswith("No fault found: IPv4 2 rules, tracking proven. But ")
    assert f"1 rule sends connections to TCP port {PORT}, where no program listens" in refused
    assert heard.startswith("NAT works: 5 of 5")
