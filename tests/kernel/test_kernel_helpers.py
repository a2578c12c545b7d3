"""Conntrack helpers that a rule assigns, and that none does: what a server of FTP is told."""

from __future__ import annotations

import socket

import pytest

from support import inside
from support.page import Page
from support.router import CLIENT, SERVER, WAN, Router

NAT = """
flush ruleset
table ip nat { chain post { type nat hook postrouting priority 100; oifname "wan0" masquerade; }; }
"""
HELPERS = """
table ip helpers {
  ct helper ftp-standard { type "ftp" protocol tcp; }
  chain pre { type filter hook prerouting priority 0; }
}
"""
ASSIGN = 'add rule ip helpers pre tcp dport 21 ct helper set "ftp-standard"'
_sockets: dict[str, socket.socket] = {}


def wait_for_control():
    """Listen for control connections of FTP."""
    _sockets["server"] = socket.create_server((SERVER, 21))
    _sockets["server"].settimeout(10)


def announce():
    """Connect as a client of FTP, and announce a port for data: the helper waits for a line."""
    control = _sockets["client"] = socket.create_connection((SERVER, 21), 10)
    control.sendall(b"USER anonymous\r\n")
    control.sendall(b"PORT " + CLIENT.replace(".", ",").encode() + b",200,1\r\n")


def announced():
    """Return the address that the server is told."""
    control, _ = _sockets["server"].accept()
    with control, _sockets.pop("server"):
        control.settimeout(10)
        *_, told = (line for _, line in zip(range(2), control.makefile("rb")))
    return b".".join(told.split()[1].split(b",")[:4]).decode()


def told(router):
    router.server.call(wait_for_control)
    router.client.call(announce)
    return router.server.call(announced)


@pytest.fixture
def router(namespaces):
    """A router that masquerades."""
    made = Router(namespaces)
    made.router.run("nft", "-f", "-", stdin=NAT)
    return made


def unassigned(router):
    """Return the helpers of the page, and the severity of the finding, of a fresh process."""
    found = router.router.call(inside.check, "network_namespace: any")
    samples = Page(found.page).samples("nat_unassigned_helper")
    severities = [how for name, how, _ in found.found if name == "NatHelperUnassigned"]
    return {sample.labels["helper"] for sample in samples}, severities


def test_a_helper_that_no_rule_assigns(router):
    """The server is told an address that it cannot reach; a rule that assigns it ends that."""
    assert (told(router), unassigned(router)) == (CLIENT, (set(), []))
    router.router.run("nft", "-f", "-", stdin=HELPERS)
    assert (told(router), unassigned(router)) == (CLIENT, ({"ftp"}, ["info"]))
    router.router.sh(f"nft '{ASSIGN}'")
    assert (told(router), unassigned(router)) == (WAN, (set(), []))
    router.router.sh("nft flush chain ip helpers pre")
    assert (told(router), unassigned(router)) == (CLIENT, ({"ftp"}, ["info"]))


def test_a_rule_of_iptables_assigns_it(router):
    """Also where the object of nftables is left over."""
    router.router.run("nft", "-f", "-", stdin=HELPERS)
    router.router.sh("iptables-legacy -w -t raw -A PREROUTING -p tcp --dport 21 -j CT --helper ftp")
    assert (told(router), unassigned(router)) == (WAN, (set(), []))
    router.router.sh("iptables-legacy -w -t raw -F")
    assert (told(router), unassigned(router)) == (CLIENT, ({"ftp"}, ["info"]))


def test_without_translation_nothing_is_told(router):
    """A host that does not translate is out of scope."""
    router.router.run("nft", "-f", "-", stdin=f"flush ruleset\n{HELPERS}")
    assert unassigned(router) == (set(), [])
