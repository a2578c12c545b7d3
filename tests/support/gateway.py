"""A NAT gateway whose clients open connections while `check` measures an interval."""

from __future__ import annotations

import fcntl
import socket
import sys
import termios
import threading
import time
from collections.abc import Sequence
from typing import Callable

from support import inside
from support.namespace import Namespace
from support.router import SERVER, Router

CONFIGURATION = "network_namespace: any\nnat: {ipv4: required, ipv6: none}\n"
DESTINATIONS = [SERVER, *(f"198.51.100.{host}" for host in range(3, 8))]
CONNECTIONS = 6 * len(DESTINATIONS)  #: of six sources, each time

Open = Callable[[Sequence[str], int], None]

_OPEN: list[socket.socket] = []


def serve() -> None:
    """Take connections to port 7; a refused one leaves no entry in the flow table."""
    _OPEN.append(socket.create_server(("", 7), backlog=1024))


def connect(sources: Sequence[str], times: int) -> None:
    """Open connections from each source to each destination."""
    for source in (each for each in sources for _ in range(times)):
        for destination in DESTINATIONS:
            inside.connect(source, destination, 7)
    time.sleep(0.2)  # for the last answers


def answer_all() -> None:
    """Answer each datagram to port 53, from the address that it came to."""
    for address in DESTINATIONS:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind((address, 53))
        threading.Thread(target=_answer, args=(opened,), daemon=True).start()


def _answer(opened: socket.socket) -> None:
    while True:
        opened.sendto(*opened.recvfrom(64))


def ask(sources: Sequence[str], times: int) -> None:
    """Send a datagram from each source to each destination, as if to a resolver."""
    for source in (each for each in sources for _ in range(times)):
        for destination in DESTINATIONS:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
                opened.bind((source, 0))
                opened.sendto(b"x", (destination, 53))
    time.sleep(0.2)  # for the last answers


def delivers(address: str) -> bool:
    """Return whether a connection comes about, and what is sent on it is acknowledged."""
    try:
        opened = socket.create_connection((address, 7), timeout=2)
    except OSError:
        return False
    with opened:
        opened.sendall(b"x")
        for _ in range(10):
            time.sleep(0.05)
            if not int.from_bytes(fcntl.ioctl(opened, termios.TIOCOUTQ, bytes(4)), sys.byteorder):
                return True
    return False


class Gateway:
    """Whoever translates in front of a client with several addresses."""

    def __init__(self, router: Router, gateway: Namespace, sources: Sequence[str]) -> None:
        self.client, self.gateway, self._sources = router.client, gateway, sources
        self.answers = router.answers  #: of UDP
        router.server.sh("; ".join(f"ip address add {a}/24 dev eth0" for a in DESTINATIONS[1:]))
        router.server.call(serve)
        router.server.call(answer_all)

    def load(self, rule: str, filters: str = "") -> None:
        """Load a rule for packets that leave, and what a chain at the forward hook holds."""
        chain = "type nat hook postrouting priority 100"
        text = f"table ip n {{\nchain c {{ {chain}; {rule}\n}}\n}}\n"
        if filters:
            chain = "type filter hook forward priority 0"
            text += f"table ip f {{\nchain c {{ {chain}; {filters}\n}}\n}}\n"
        self.gateway.run("nft", "flush", "ruleset")
        self.gateway.run("nft", "-f", "-", stdin=text)
        self.gateway.run("conntrack", "-F")

    def check(self, times: int = 1) -> tuple[int, dict[str, str], str]:
        """Open connections in an interval of `check`; return exit code, findings and verdict."""
        return self._checked(connect, times)

    def check_datagrams(self, times: int = 1) -> tuple[int, dict[str, str], str]:
        """Ask in an interval of `check` as clients of resolvers do; return the same."""
        return self._checked(ask, times)

    def _checked(self, open_: Open, times: int) -> tuple[int, dict[str, str], str]:
        self.gateway.call(inside.begin_check, CONFIGURATION)
        self.client.call(open_, self._sources, times)
        code, verdict, found = self.gateway.call(inside.end_check)
        return code, found, verdict.split(" of ")[0]
