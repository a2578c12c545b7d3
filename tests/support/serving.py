"""A server on loopback, in a thread of the test's process, and clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Callable

from netfilter_exporter.collection import Gatherer
from netfilter_exporter.collectors.base import Collector, Metric, value
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel.system import System
from netfilter_exporter.web.auth import Guard
from netfilter_exporter.web.connection import Limits
from netfilter_exporter.web.listen import listen, parse_address
from netfilter_exporter.web.pages import Pages
from netfilter_exporter.web.scrapes import Scrapes
from netfilter_exporter.web.server import Server
from netfilter_exporter.web.web_file import WebFile

#: Far more than anything here takes, so that a test ends when something hangs.
PATIENCE = 20


def collector(name: str, read: Callable[[Any], float] = lambda _: 1, **row: Any) -> Collector:
    """Return a collector of one metric test_NAME, whose value is what `read` gives."""
    metric = Metric(f"test_{name}", "A test.", source="the test", samples=value(read), **row)
    return Collector(name, f"the {name} of the test", (metric,))


class Running:
    """A server that runs until it is closed."""

    def __init__(
        self,
        collectors: Iterable[Collector],
        *,
        limits: Limits | None = None,
        max_requests: int = 0,
        path: str = "/metrics",
        known: Iterable[str] = (),
        web_config: Path | None = None,
        system: System | None = None,
    ) -> None:
        self._system = system or System()
        self.web_file = WebFile(str(web_config) if web_config else None)
        self._collectors = {item.name: item for item in collectors}
        self._known = {*self._collectors, *known}
        self._path = path
        self._max_requests = max_requests
        self._limits = limits or Limits()
        self._listener = listen(parse_address("127.0.0.1:0"))
        self.port = self._listener.getsockname()[1]
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._started.wait(PATIENCE)

    async def _serve(self) -> None:
        gatherer = self.gatherer = Gatherer(Host(self._system))
        scrapes = Scrapes(gatherer, self._collectors, max_requests=self._max_requests)
        self.guard = Guard(Pages(scrapes, self._known, self._path), self.web_file)
        self.server = Server(self.guard, self._limits, lambda: self.web_file.current().tls)
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        scrapes.start()
        self.server.start([self._listener])
        self._started.set()
        await self._stop.wait()
        self.guard.close()
        await self.server.stop()
        scrapes.stop()
        gatherer.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)

    def stopped(self) -> bool:
        return not self._thread.is_alive()

    def close(self) -> None:
        if not self._loop.is_closed():
            self.stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def connect(self) -> socket.socket:
        """Return a connected socket."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def send(self, request: bytes) -> bytes:
        """Send bytes on a connection of its own and return all that comes until its end."""
        with self.connect() as peer:
            peer.sendall(request)
            return receive_all(peer)

    def get(
        self, path: str = "/metrics", method: str = "GET", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Return status, headers and body of one request."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(client):
            names = {name.replace("_", "-"): text for name, text in headers.items()}
            client.request(method, path, headers=names)
            response = client.getresponse()
            return response.status, response.headers, response.read()


#: Of linux/in.h, which Python 3.9 lacks: bind() takes an address and no port.
_IP_BIND_ADDRESS_NO_PORT = 24


def connect_from(source: str, port: int) -> socket.socket:
    """Return a socket that is connected from an address of loopback.

    A connection that its client ends keeps the client's port for a minute. Thousands a second would
    leave none to listen on; from another address than 127.0.0.1 they take none of those.
    """
    peer = socket.socket()
    peer.settimeout(PATIENCE)
    peer.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    peer.bind((source, 0))
    try:
        peer.connect(("127.0.0.1", port))
    except BaseException:
        peer.close()
        raise
    return peer


def reset(peer: socket.socket) -> None:
    """Close a connection at once, in both directions."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def receive_all(peer: socket.socket) -> bytes:
    """Return what `peer` sends until it closes or resets."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while chunk := peer.recv(65536):
            received += chunk
    return received


def receive_response(peer: socket.socket) -> tuple[bytes, bytes]:
    """Return one response of a connection that stays open: its head and its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += (chunk := peer.recv(65536))
        assert chunk, received
    head, _, body = received.partition(b"\r\n\r\n")
    (length,) = (
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.startswith(b"Content-Length:")
    )
    while len(body) < length:
        body += (chunk := peer.recv(65536))
        assert chunk, body
    return head, body


def eventually(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until `true()` is."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not come true"
        time.sleep(0.005)
