"""One event loop that accepts, shakes hands, reads heads and writes answers, and blocks for nobody.

A peer costs a small object, not a thread. What it may take is bounded: bytes and seconds for a
head, seconds to fetch an answer, seconds to idle, and a number of peers that wait.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Iterable
from typing import Callable

from netfilter_exporter.web.connection import Application, Connection, Limits
from netfilter_exporter.web.tls import TlsSide
from netfilter_exporter.web.tls_layer import TlsLayer

_log = logging.getLogger(__name__)

_SOON = 0.01
#: Then the peers that are already here have their turn. Who is shed for others holds a descriptor
#: for two more turns, so of few descriptors only a part is taken at once.
_ACCEPTS_AT_ONCE, _PART_AT_ONCE = 64, 16


class Server:
    """Peers on listening sockets, and the application that answers them."""

    def __init__(
        self,
        application: Application,
        limits: Limits | None = None,
        tls: Callable[[], TlsSide | None] = lambda: None,
    ) -> None:
        """`tls` is asked at each connection; None is plain HTTP."""
        self.application = application
        self.limits = limits or Limits()
        self.tls = tls
        self.stopping = False
        #: What recv() fills: each peer takes its bytes out before the next one reads.
        self.receive_buffer = memoryview(bytearray(self.limits.head_bytes))
        # Half of the descriptors are for what is not a peer: files of the kernel, first of all.
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most_waiting = min(self.limits.waiting_peers, descriptors // 2)
        self._at_once = max(min(_ACCEPTS_AT_ONCE, descriptors // _PART_AT_ONCE), 1)
        self._listeners: list[socket.socket] = []
        #: In the order of arrival: the oldest is the first to go. Handshakes wait too.
        self._opening: dict[Connection, asyncio.Task[None]] = {}
        self._waiting: dict[Connection, None] = {}
        self._answering: dict[Connection, None] = {}

    def start(self, listeners: Iterable[socket.socket]) -> None:
        """Accept on `listeners`; the running loop is the one that serves."""
        for listener in listeners:
            listener.setblocking(False)
            self._listeners.append(listener)
            self._accept_on(listener)

    async def stop(self) -> None:
        """Close the listeners and idle peers; requests in progress or to come have a moment."""
        self.stopping = True
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.remove_reader(listener)
            listener.close()
        await self._hear_the_last()
        while self._opening or self._waiting:
            self._shed()
        answers = [peer.answer for peer in self._answering if peer.answer]
        if answers:
            await asyncio.wait(answers, timeout=self.limits.stop_seconds)
        for peer in [*self._answering, *self._waiting]:
            peer.abort()
        await asyncio.sleep(0)  # their connection_lost()

    async def _hear_the_last(self) -> None:
        """Let who came just before the stop ask: no socket of systemd's has refused them."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.limits.last_seconds
        while any(not peer.has_asked for peer in (*self._opening, *self._waiting)):
            if loop.time() > end:
                return
            await asyncio.sleep(_SOON)

    # -- accepting ---------------------------------------------------------------------------

    def _accept_on(self, listener: socket.socket) -> None:
        if not self.stopping:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(self._at_once):
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._starve(listener, error)
                return
            connection.setblocking(False)
            tls = self.tls()
            peer = Connection(self)
            self._opening[peer] = asyncio.ensure_future(self._open(connection, peer, tls))
            self._bound()

    def _starve(self, listener: socket.socket, error: OSError) -> None:
        """Without descriptors the listener stays readable: pause, and let the oldest peer go."""
        _log.warning("cannot accept: %s", error)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        loop.call_later(self.limits.starved_seconds, self._accept_on, listener)
        self._shed()

    async def _open(self, connection: socket.socket, peer: Connection, tls: TlsSide | None) -> None:
        """Make `connection` that of `peer`, after the TLS handshake where there is one."""
        loop = asyncio.get_running_loop()
        layer = TlsLayer(peer, tls, self.receive_buffer) if tls else None
        transport = None
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: layer or peer, connection)
            if layer:
                await asyncio.wait_for(layer.handshake, self.limits.handshake_seconds)
        except (OSError, asyncio.TimeoutError) as error:  # ssl.SSLError is an OSError
            _log.debug("connection refused: %s", error)
            if transport:
                transport.abort()
        except asyncio.CancelledError:
            if transport:
                transport.abort()
            raise
        finally:
            self._opening.pop(peer, None)

    # -- who waits ---------------------------------------------------------------------------

    def idle(self, peer: Connection) -> None:
        """`peer` has no request in progress."""
        self._opening.pop(peer, None)
        self._answering.pop(peer, None)
        self._waiting[peer] = None
        self._bound()

    def busy(self, peer: Connection) -> None:
        """`peer` has a request in progress."""
        self._waiting.pop(peer, None)
        self._answering[peer] = None

    def closed(self, peer: Connection) -> None:
        self._waiting.pop(peer, None)
        self._answering.pop(peer, None)

    def _bound(self) -> None:
        while len(self._waiting) + len(self._opening) > self._most_waiting:
            self._shed()

    def _shed(self) -> None:
        """Close the oldest peer that waits, otherwise the oldest handshake."""
        if self._waiting:
            peer = next(iter(self._waiting))
            self.closed(peer)
            peer.abort()
        elif self._opening:
            self._opening.pop(next(iter(self._opening))).cancel()
