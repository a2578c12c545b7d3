"""One connection of the server: the bytes that come and go, and the time they may take."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from typing import Callable, NamedTuple, Protocol, Union, cast

from netfilter_exporter.web.http import (
    HttpError,
    Request,
    Response,
    parse_request,
    render_head,
)

_log = logging.getLogger(__name__)

_HEAD_END = re.compile(rb"\n\r?\n")

Answer = Union[Response, "asyncio.Future[Response]"]
Application = Callable[[Request], Answer]


class Limits(NamedTuple):
    """What a peer may take of us."""

    head_bytes: int = 16 * 1024
    head_seconds: float = 10  #: absolute, so that a byte now and then does not help
    write_seconds: float = 10
    #: Longer than the five minutes after which Prometheus drops an idle connection itself.
    idle_seconds: float = 360
    handshake_seconds: float = 10
    linger_seconds: float = 1
    waiting_peers: int = 512
    starved_seconds: float = 0.2  #: pause in accepting when there are no descriptors
    stop_seconds: float = 3
    last_seconds: float = 0.5  #: for the first request of who has come just before the stop


class ConnectionRegistry(Protocol):
    """What a peer needs of the server that keeps it."""

    application: Application
    limits: Limits
    stopping: bool
    receive_buffer: memoryview  #: what recv() fills: each takes its bytes before the next reads

    def idle(self, peer: Connection) -> None: ...

    def busy(self, peer: Connection) -> None: ...

    def closed(self, peer: Connection) -> None: ...


class Connection(asyncio.BufferedProtocol):
    """One connection: waits for a head, has it answered, waits for the next."""

    def __init__(self, server: ConnectionRegistry) -> None:
        self._server = server
        self._limits = server.limits
        self._received = bytearray()
        self._searched = 0  #: how much of it is known to hold no end of a head
        self._in_head = False
        self._unsent = False  #: the transport holds bytes that the peer does not take
        self._ending = False  #: no more is answered, the rest of what comes is dropped
        self._half_closed = False
        self.has_asked = False
        self.answer: asyncio.Future[Response] | None = None  #: that is being made
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    # -- called by the event loop --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # So that pause_writing() and resume_writing() mean "something unsent" and "all sent".
        self._transport.set_write_buffer_limits(high=1, low=0)
        self._server.idle(self)
        self._in_head = True
        self._allow(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self._server.closed(self)
        self._stop_timer()
        if self.answer:
            self.answer.cancel()
        self._ending = True
        self._received.clear()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's name
        return self._server.receive_buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._ending:
            return
        self._received += self._server.receive_buffer[:nbytes]
        self._read_head()

    def eof_received(self) -> bool:
        """Keep a connection whose peer is done sending until all its requests are answered."""
        self._half_closed = True
        if self._owes():
            return True
        self._allow_end()  # where there is TLS, even a close waits for the peer
        return False

    def pause_writing(self) -> None:
        self._unsent = True

    def resume_writing(self) -> None:
        self._unsent = False
        if not self._ending:
            self._wait()

    # -- a request -----------------------------------------------------------------------------

    def _owes(self) -> bool:
        """Return whether a request is being answered, or waits in line."""
        return self.answer is not None or bool(_HEAD_END.search(self._received))

    def _read_head(self) -> None:
        if self.answer or self._unsent or self._ending:
            if len(self._received) > self._limits.head_bytes:
                self._transport.pause_reading()  # the rest waits in the peer's own memory
            return
        self._drop_empty_lines()
        end = _HEAD_END.search(self._received, self._searched)
        if (end.start() if end else len(self._received)) > self._limits.head_bytes:
            self._refuse(HttpError(431, f"more than {self._limits.head_bytes} bytes of headers"))
        elif end:
            head = bytes(self._received[: end.start()])
            del self._received[: end.end()]
            self._searched = 0
            self._take(head)
        elif self._half_closed:
            self._end(more_may_come=False)
        else:
            self._searched = max(len(self._received) - 2, 0)
            if not self._in_head:
                self._in_head = True
                self._allow(self._limits.head_seconds)

    def _drop_empty_lines(self) -> None:
        """Drop what some clients send behind a body (RFC 9112, 2.2)."""
        if self._received.startswith((b"\r", b"\n")):
            self._received = self._received.lstrip(b"\r\n")
            self._searched = 0

    def _take(self, head: bytes) -> None:
        try:
            request = parse_request(head.removesuffix(b"\r"))._replace(peer=self._peer_address())
        except HttpError as error:
            self._refuse(error)
            return
        self._in_head = False
        self.has_asked = True
        self._stop_timer()
        self._server.busy(self)
        try:
            answer = self._server.application(request)
        except HttpError as error:
            answer = error.response()
        except Exception:
            answer = _internal_error(request)
        if isinstance(answer, Response):
            self._respond(request, answer)
        else:
            self.answer = answer
            answer.add_done_callback(lambda done: self._answered(request, done))

    def _peer_address(self) -> str:
        name = self._transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else ""  # not that of a Unix socket

    def _answered(self, request: Request, answer: asyncio.Future[Response]) -> None:
        self.answer = None
        if answer.cancelled() or self._transport.is_closing():
            return  # connection_lost() was called, or will be: the transport takes no byte more
        try:
            response = answer.result()
        except Exception:
            response = _internal_error(request)
        self._respond(request, response)

    def _respond(self, request: Request, response: Response) -> None:
        goes_on = request.keep_alive and not request.has_body and not self._server.stopping
        goes_on = goes_on and (not self._half_closed or self._owes())
        self._send(response, keep_alive=goes_on, head_only=request.method == "HEAD")
        if not goes_on:
            self._end(more_may_come=request.has_body)
        elif self._unsent:
            self._allow(self._limits.write_seconds)
        else:
            self._wait()

    def _send(self, response: Response, *, keep_alive: bool, head_only: bool = False) -> None:
        self._server.idle(self)
        head = render_head(response, keep_alive=keep_alive, now=time.time())
        self._transport.write(head if head_only else head + response.body)

    def _wait(self) -> None:
        self._allow(self._limits.idle_seconds)
        if len(self._received) <= self._limits.head_bytes and not self._half_closed:
            self._transport.resume_reading()
        if self._received:  # not at once: a thousand requests in one segment would recurse
            asyncio.get_running_loop().call_soon(self._read_head)

    # -- the end -------------------------------------------------------------------------------

    def _refuse(self, error: HttpError) -> None:
        self._send(error.response(), keep_alive=False)
        self._end(more_may_come=True)

    def _end(self, *, more_may_come: bool) -> None:
        """Close when all is sent.

        A close with bytes unread resets the connection, and the peer may lose the answer: where
        more may come, only our direction is closed, and for a moment the rest is dropped.
        """
        self._ending = True
        self._received.clear()
        self._allow_end()
        if more_may_come and not self._half_closed:
            self._transport.resume_reading()  # if it was paused: what waits has to be dropped
            with contextlib.suppress(OSError):  # the peer is gone already
                self._transport.write_eof()
        else:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection and what is unsent."""
        self._transport.abort()

    def _allow_end(self) -> None:
        self._allow(self._limits.write_seconds if self._unsent else self._limits.linger_seconds)

    def _allow(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()


def _internal_error(request: Request) -> Response:
    """Log the exception being handled; the client learns only that there was one."""
    _log.exception("answering %s %s", request.method, request.path)
    return Response(500, b"internal error: see the log of the exporter\n")
