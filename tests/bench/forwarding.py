"""What forwarded packets wait while the flow table is looked at.

A client and a server, each in a namespace, and a router between them whose table is full of flows.
One packet at a time goes there and back; a process in the router's namespace takes the looks.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import machine

_CLIENT, _SERVER = "10.9.1.2", "203.0.113.2"
_PORT = 7
_WARM_UP = 200
RULES = """
table ip nat {
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    oifname "wan" masquerade
  }
}
"""


def latencies(flows: int, rounds: int, packets: int) -> tuple[list[float], list[float]]:
    """Return the 99th percentile of each round: without looks, and with one in each round.

    A look in each round is more than the exporter takes, which waits 15 seconds between two.
    """
    with machine.conntrack_limit(flows * 5 // 4 + 1), _network() as (router, client, server):
        looks = _Looks(router, flows)
        try:
            _round(client, server, _WARM_UP)
            found: tuple[list[float], list[float]] = [], []
            for number in range(2 * rounds):
                if number % 2:
                    looks.begin()
                took = sorted(_round(client, server, packets))
                if number % 2:
                    looks.wait()
                found[number % 2].append(took[packets * 99 // 100])
            return found
        finally:
            looks.close()


def _round(client: socket.socket, server: socket.socket, packets: int) -> list[float]:
    took = []
    for _ in range(packets):
        began = time.perf_counter()
        client.send(b"x")
        _, sender = server.recvfrom(16)
        server.sendto(b"x", sender)
        client.recv(16)
        took.append(time.perf_counter() - began)
    return took


class _Looks:
    """A process that takes a look when it is asked to."""

    def __init__(self, router: str, flows: int) -> None:
        script = Path(__file__).with_name("looks.py")
        command = machine.within(router, sys.executable, str(script), "serve", str(flows))
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.wait()

    def begin(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def wait(self) -> None:
        assert self._process.stdout
        if not self._process.stdout.readline():
            raise machine.Failed("looks.py ended")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def _network() -> Iterator[tuple[str, socket.socket, socket.socket]]:
    """Make the namespaces; yield the router's name and both ends."""
    with contextlib.ExitStack() as stack:
        router, client, server = (
            stack.enter_context(machine.namespace(name)) for name in ("router", "client", "server")
        )
        for name, inner, own, theirs in (
            ("lan", client, "10.9.1.1", _CLIENT),
            ("wan", server, "203.0.113.1", _SERVER),
        ):
            for command in (
                f"ip -n {router} link add {name} type veth peer name eth0 netns {inner}",
                f"ip -n {router} addr add {own}/24 dev {name}",
                f"ip -n {inner} addr add {theirs}/24 dev eth0",
                f"ip -n {router} link set {name} up",
                f"ip -n {inner} link set eth0 up",
                f"ip -n {inner} route add default via {own}",
            ):
                machine.run(*command.split())
        machine.run(*machine.within(router, "sysctl", "-qw", "net.ipv4.ip_forward=1"))
        machine.run(*machine.within(router, "nft", "-f", "-"), given=RULES)
        ends = [machine.inside(name, _datagrams) for name in (client, server)]
        for end in ends:
            stack.enter_context(end)
            end.settimeout(5)
        ends[0].connect((_SERVER, _PORT))
        ends[1].bind((_SERVER, _PORT))
        yield router, ends[0], ends[1]


def _datagrams() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
