"""Two connected UDP sockets on loopback: the datagram of the tracking probe."""

from __future__ import annotations

import socket
from typing import Protocol

from netfilter_exporter.kernel.errors import Inconclusive
from netfilter_exporter.rules.families import Family

ADDRESS = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}
_SOCKET_FAMILY = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}

#: Loopback delivers within the send unless a softirq is deferred under load.
_DELIVERY = 0.1


class Loopback(Protocol):
    """Two UDP sockets on loopback that are connected to each other."""

    ports: tuple[int, int]

    def send(self) -> None: ...

    def delivered(self) -> bool: ...

    def close(self) -> None: ...


class LoopbackPair:
    """Two UDP sockets, each bound to its own port and connected to the other.

    Raises `Inconclusive` where the family has no loopback address to bind to.
    """

    def __init__(self, family: Family) -> None:
        self._family = family
        self._sockets: list[socket.socket] = []
        try:
            for _ in range(2):
                opened = socket.socket(_SOCKET_FAMILY[family], socket.SOCK_DGRAM)
                self._sockets.append(opened)
                opened.bind((ADDRESS[family], 0))
                opened.setblocking(False)
            sender, receiver = self._sockets
            source, destination = sender.getsockname(), receiver.getsockname()
            sender.connect(destination)
            receiver.connect(source)
        except OSError as error:
            self.close()
            raise Inconclusive(f"{ADDRESS[family]}: {error.strerror}") from None
        self.ports: tuple[int, int] = (source[1], destination[1])

    def send(self) -> None:
        """Send one byte; raise `Inconclusive` where a filter or a missing route stops it."""
        try:
            self._sockets[0].send(b"\0")
        except OSError as error:
            raise Inconclusive(
                f"a datagram to {ADDRESS[self._family]} was refused: {error.strerror}"
            ) from None

    def delivered(self) -> bool:
        """Return whether the byte arrived."""
        receiver = self._sockets[1]
        try:
            receiver.settimeout(_DELIVERY)  # not select(2), which ends at descriptor 1023
            return receiver.recv(1) == b"\0"
        except OSError:
            return False

    def close(self) -> None:
        for opened in self._sockets:
            opened.close()
