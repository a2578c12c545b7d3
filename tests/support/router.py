"""A client, a router and a server, each in a network namespace of its own."""

from __future__ import annotations

from typing import Callable

from support import inside
from support.namespace import Namespace, run

PORT = 7007
CLIENT, LAN = "10.77.0.2", "10.77.0.1"
SERVER, WAN = "198.51.100.2", "198.51.100.1"

#: The kernel says so up to a second after the link passes packets (net/core/link_watch.c, v6.18).
_UNTIL_UP = (
    "for i in $(seq 100); do ip -o link show {} | grep -q 'state UP' && exit; sleep 0.05; done;"
    " exit 1"
)


class Router:
    """lan0 towards the client, wan0 towards the server, which knows no way to the client."""

    def __init__(self, make: Callable[[], Namespace]) -> None:
        self.client, self.router, self.server = make(), make(), make()
        for namespace in (self.client, self.router, self.server):  # addresses work at once
            namespace.run("sysctl", "-q", "net.ipv6.conf.default.accept_dad=0")
        self.link(self.client, "lan0", CLIENT, LAN, "fd77::{}")
        self.link(self.server, "wan0", SERVER, WAN, "fd78::{}")
        self.client.sh(f"ip route add default via {LAN}; ip route add default via fd77::1")
        # So that what is not translated arrives, and shows where it came from.
        self.server.sh(f"ip route add default via {WAN}; ip route add default via fd78::1")
        self.router.sh("sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        for name in "lan0", "wan0":
            self.router.sh(_UNTIL_UP.format(name))

    def link(self, peer: Namespace, name: str, far: str, near: str, ipv6: str) -> None:
        """Connect eth0 of a namespace to a new interface of the router."""
        ends = ("name", name, "netns", self.router.name)
        run("ip", "-n", peer.name, "link", "add", "eth0", "type", "veth", "peer", *ends)
        for where, link, address, host in (
            (peer, "eth0", far, 2),
            (self.router, name, near, 1),
        ):
            where.sh(
                f"ip address add {address}/24 dev {link};"
                f" ip address add {ipv6.format(host)}/64 dev {link} nodad; ip link set {link} up"
            )

    def source(self, address: str = SERVER, port: int = PORT) -> str | None:
        """Send a datagram to the server; return whom it came from, None where it did not come."""
        self.server.call(inside.listen, address, port)
        self.client.call(inside.send, address, port)
        found: str | None = self.server.call(inside.heard, address, port)
        return found

    def answers(self, address: str = SERVER, port: int = PORT, times: int = 1) -> int:
        """Return how many of so many requests of the client the server's answers come back for."""
        self.server.call(inside.listen, address, port)
        asking = [self.client.call(inside.ask, address, port, number) for number in range(times)]
        for _ in asking:
            self.server.call(inside.answer, address, port)
        return sum(self.client.call(inside.answered, number) for number in range(times))
