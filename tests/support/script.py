"""A netlink transport that says what a test wrote down for it."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import Callable, NamedTuple, Union

from netfilter_exporter.kernel.errors import TimedOut
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import HEADER, NLMSG_DONE
from support import wire

#: A datagram with any sequence number, one that is made of the request's, or a failing call.
Line = Union[bytes, Callable[[int], bytes], Exception]

DUMPED = 0x0A06  # the type of what is dumped; nothing looks at it


class Request(NamedTuple):
    """What was asked."""

    type: int
    flags: int
    payload: bytes


class Script:
    """Answers the n-th request with the n-th of `answers`, and the last of them ever after."""

    def __init__(self, *answers: Iterable[Line]) -> None:
        self._answers = [list(answer) for answer in answers]
        self._queue: collections.deque[bytes | Exception] = collections.deque()
        self.requests: list[Request] = []
        self.timeouts: list[float] = []
        self.closed = False

    def send(self, datagram: bytes) -> None:
        _, type_, flags, sequence, _ = HEADER.unpack_from(datagram)
        answer = self._answers[min(len(self.requests), len(self._answers) - 1)]
        self.requests.append(Request(type_, flags, datagram[HEADER.size :]))
        for line in answer:
            if isinstance(line, bytes):
                self._queue.append(wire.with_sequence(line, sequence))
            else:
                self._queue.append(line if isinstance(line, Exception) else line(sequence))

    def receive(self, timeout: float) -> memoryview:
        self.timeouts.append(timeout)
        if not self._queue:
            raise TimedOut(f"netlink: no answer within {timeout:.1f} s")
        line = self._queue.popleft()
        if isinstance(line, Exception):
            raise line
        return memoryview(line)

    def close(self) -> None:
        self.closed = True


def connect(*answers: Iterable[Line]) -> tuple[Connection, Script]:
    """Return a connection to a kernel that answers as written, on a clock that stands still."""
    script = Script(*answers)
    return Connection(script, deadline=8.0, clock=lambda: 0.0), script


def dumped(*payloads: bytes, flags: int = wire.NLM_F_MULTI) -> bytes:
    """Return a datagram with one message for each of `payloads`."""
    return b"".join(wire.message(DUMPED, flags, payload) for payload in payloads)


def done(flags: int = 0, number: int = 0) -> bytes:
    """Return the message that ends a dump."""
    body = (-number).to_bytes(4, "little", signed=True)
    return wire.message(NLMSG_DONE, wire.NLM_F_MULTI | flags, body)
