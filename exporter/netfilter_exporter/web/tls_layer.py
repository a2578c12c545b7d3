"""TLS between the transport of a socket and the protocol of a connection.

Made of ssl.SSLObject and ssl.MemoryBIO. asyncio's own layer has no public way to shrink the
256 KiB that it takes for each connection since Python 3.11, differs between versions, and closes
both directions at once, so that requests before a close would stay unanswered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import Any, cast

from netfilter_exporter.web.tls import TlsSide

_log = logging.getLogger(__name__)


class NotAdmitted(ConnectionError):
    """The certificate of a client has none of the names that may connect."""


class TlsLayer(asyncio.BufferedProtocol, asyncio.Transport):
    """The protocol of a socket's transport, and the transport of `protocol`.

    What it sends is encrypted at once and waits in the transport of the socket, whose flow control
    it passes on. `protocol` has its connection when the handshake is done.
    """

    def __init__(
        self, protocol: asyncio.BufferedProtocol, side: TlsSide, buffer: memoryview
    ) -> None:
        """`buffer` is what each read fills, encrypted and then decrypted; others use it too."""
        super().__init__()
        self._protocol = protocol
        self._side = side
        self._buffer = buffer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = side.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.handshake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connected = False  #: `protocol` has its connection
        self._paused = False
        self._ended = False  #: the peer has closed its direction, by a close_notify or a FIN
        self._finished = False  #: the peer has sent a FIN
        self._closing = False  #: ours is closed, and what still comes is dropped
        self._raw: asyncio.Transport

    # -- called by the transport of the socket -------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._finish(ConnectionResetError("closed during the handshake"))
        if self._connected:
            self._protocol.connection_lost(exc)
        # Now, and not when the garbage collector finds that this and `protocol` know each other.
        del self._tls, self._incoming, self._outgoing

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's name
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if not self._closing:
            self._incoming.write(self._buffer[:nbytes])
            self._advance()

    def eof_received(self) -> bool:
        """Take the end of the socket for the end of TLS: a request that is cut is not answered."""
        self._finished = True
        if self._closing or not self._connected:
            return False
        self._end()
        return not self._closing

    def pause_writing(self) -> None:
        if self._connected:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._connected:
            self._protocol.resume_writing()

    # -- what comes ----------------------------------------------------------------------------

    def _advance(self) -> None:
        """Shake hands, then read, as far as the bytes that have come allow."""
        if self._closing:
            return
        try:
            if not self._connected:
                self._tls.do_handshake()
                self._connect()
            self._read()
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLError, NotAdmitted) as error:
            self._fail(error)
        self._flush()  # an alert too, and the answer to a new key

    def _connect(self) -> None:
        if not self._side.admits(self._tls.getpeercert(binary_form=True)):
            _log.info("refused a client: its certificate has none of client_allowed_sans")
            raise NotAdmitted
        self._connected = True
        self._finish(None)
        self._protocol.connection_made(self)

    def _read(self) -> None:
        while not (self._paused or self._closing or self._ended):
            count = self._tls.read(len(self._buffer), cast("Any", self._buffer))
            if not count:
                self._end()
                return
            self._protocol.buffer_updated(cast("int", count))

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            if not self._protocol.eof_received():
                self.close()

    def _fail(self, error: Exception) -> None:
        self._finish(error)
        self._closing = True
        self._flush()
        self._raw.close()

    def _finish(self, error: Exception | None) -> None:
        """End the waiting for the handshake, if it has not ended."""
        if self.handshake.done():
            return
        if error:
            self.handshake.set_exception(error)
        else:
            self.handshake.set_result(None)

    # -- the transport of the connection -------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        try:
            self._tls.write(cast("bytes", data))
        except ssl.SSLError as error:  # the session has failed meanwhile
            self._fail(error)
        self._flush()

    def _flush(self) -> None:
        if not self._raw.is_closing() and self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Close our direction; what still comes is dropped."""
        if self._closing:
            return
        self._closing = True
        with contextlib.suppress(ssl.SSLError):  # that the peer has not closed its own yet
            self._tls.unwrap()
        self._flush()
        if self._finished:
            self._raw.close()
        elif not self._raw.is_closing():
            with contextlib.suppress(OSError):  # the peer is gone already
                self._raw.write_eof()

    def close(self) -> None:
        """Close our direction; the peer's end, or the deadline of the protocol, is the end."""
        self.write_eof()

    def abort(self) -> None:
        self._closing = True
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._closing or self._raw.is_closing()

    def pause_reading(self) -> None:
        self._paused = True
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._raw.resume_reading()
            asyncio.get_running_loop().call_soon(self._advance)  # what was decrypted or waits here

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._raw.get_extra_info(name, default)
