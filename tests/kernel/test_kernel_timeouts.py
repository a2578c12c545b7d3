"""Timeouts of connection tracking that are 0: replies of a protocol match no entry."""

import contextlib
import socket
import threading

import pytest

from support import inside
from support.router import SERVER, Router

CONFIGURATION = "network_namespace: any\nnat: {ipv4: required, ipv6: none}\n"
PORT = 80
PREFIX = "net.netfilter.nf_conntrack_"


def serve():
    """Send back what comes over TCP."""
    listener = socket.create_server(("", PORT))

    def run():
        while True:
            opened, _ = listener.accept()
            threading.Thread(target=echo, args=(opened,), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()


def echo(opened):
    """Send back what comes over one connection."""
    with contextlib.suppress(OSError), opened:
        while content := opened.recv(64):
            opened.sendall(content)


def talks():
    """Return whether a TCP connection carries two answers."""
    with contextlib.suppress(OSError), socket.create_connection((SERVER, PORT), 0.5) as opened:
        for _ in range(2):
            opened.sendall(b"x")
            if opened.recv(64) != b"x":
                return False
        return True
    return False


@pytest.fixture
def router(namespaces):
    made = Router(namespaces)
    made.server.sh("ip route del default")
    made.server.call(serve)
    chain = "chain c { type nat hook postrouting priority 100; oifname wan0 masquerade; }"
    made.router.run("nft", "-f", "-", stdin=f"table ip n {{\n{chain}\n}}")
    return made


@pytest.mark.parametrize(
    ("name", "tcp", "udp"),
    [
        ("udp_timeout", True, False),
        ("tcp_timeout_syn_sent", False, True),
        ("tcp_timeout_established", False, True),
    ],
)
def test_a_timeout_of_0(router, name, tcp, udp):
    """It kills one protocol, and `check` names it; 1 second is enough for a round trip."""
    for seconds, works in ((1, (True, True)), (0, (tcp, udp))):
        router.router.run("sysctl", "-q", f"{PREFIX}{name}={seconds}")
        router.router.call(inside.begin_check, CONFIGURATION)
        assert (router.client.call(talks), router.answers(times=5) == 5) == works
        code, verdict, found = router.router.call(inside.end_check)
    assert (code, found) == (2, {"ConntrackDisabled": "critical"})
    assert verdict.startswith(f"NAT is broken: {PREFIX}{name} is 0: entries of ")
