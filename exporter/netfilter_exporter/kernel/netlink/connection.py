"""Requests and dumps over a netlink socket, within a deadline."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterator
from typing import Any, Callable, Generic, Protocol, TypeVar

from netfilter_exporter.kernel.errors import Malformed, ReadError, TimedOut
from netfilter_exporter.kernel.netlink.messages import (
    HEADER,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_MIN_TYPE,
    ends,
    messages_of,
)
from netfilter_exporter.kernel.netlink.transport import Transport

_DUMP_ATTEMPTS = 4

T = TypeVar("T")


class Collector(Protocol[T]):
    """What takes the messages of a dump; two are equal if the dumps said the same."""

    @property
    def parse(self) -> Callable[[memoryview], T]: ...

    @property
    def add(self) -> Callable[[T], None]:
        """What takes that which `parse` made of each message, in order."""


C = TypeVar("C", bound=Collector[Any])


class _List(Generic[T]):
    """Collects what a parser makes of each message."""

    def __init__(self, parse: Callable[[memoryview], T]) -> None:
        self.made: list[T] = []
        self.parse = parse
        self.add = self.made.append

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _List) and self.made == other.made

    __hash__ = None  # type: ignore[assignment]


class Interrupted(ReadError):
    """What was dumped changed during the dump, every time it was repeated."""


class Connection:
    """Requests and dumps over one `Transport`, within a deadline."""

    def __init__(
        self,
        transport: Transport,
        deadline: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        hasty: bool = False,
    ) -> None:
        """`hasty`: a dump that is interrupted raises `Interrupted` at once, and is still under way.

        Close the connection then.
        """
        self._transport = transport
        self._hasty = hasty
        self._deadline = deadline
        self._clock = clock
        self._sequence = itertools.count(1)

    def close(self) -> None:
        self._transport.close()

    def now(self) -> float:
        """Return the time on the clock of the deadline."""
        return self._clock()

    def ask(self, what: str, type_: int, payload: bytes) -> memoryview:
        """Send a request that one message answers, and return that message's payload.

        Some of these answers carry NLM_F_MULTI with no NLMSG_DONE behind (ctnetlink's
        GET_STATS and CT_GET), so the first message is taken and none is waited for.
        """
        sequence = self._send(type_, NLM_F_REQUEST, payload)
        while True:
            for kind, _, answer in self._receive(what, sequence):
                if not ends(what, kind, answer):
                    return answer
                raise Malformed(f"{what}: an empty answer")

    def command(self, what: str, type_: int, payload: bytes) -> None:
        """Send a request that is answered by an acknowledgement."""
        sequence = self._send(type_, NLM_F_REQUEST | NLM_F_ACK, payload)
        while True:
            for kind, _, answer in self._receive(what, sequence):
                if ends(what, kind, answer):
                    return

    def dump(
        self, what: str, type_: int, payload: bytes, parse: Callable[[memoryview], T]
    ) -> list[T]:
        """Return what `parse` makes of each message's payload, in order; see `dump_into`."""
        return self.dump_into(what, type_, payload, functools.partial(_List, parse)).made

    def dump_into(self, what: str, type_: int, payload: bytes, begin: Callable[[], C]) -> C:
        """Return a collector that `begin` made, and that was given each message's payload.

        Parsed as they arrive, so that a dump of ten megabytes is never held whole. Repeated
        when the kernel says that something changed meanwhile, until two in a row are the same:
        what changed was something else, such as the elements of a set.
        """
        before: C | None = None
        for _ in range(_DUMP_ATTEMPTS):
            sequence = self._send(type_, NLM_F_REQUEST | NLM_F_DUMP, payload)
            parsed = begin()
            parse, add = parsed.parse, parsed.add
            failure: Exception | None = None
            flags = 0
            done = False
            while not done:
                for kind, said, answer in self._receive(what, sequence):
                    flags |= said  # those of NLMSG_DONE may be all that shows a change
                    if kind < NLMSG_MIN_TYPE:
                        done = ends(what, kind, answer)
                    elif failure is None:
                        try:
                            add(parse(answer))
                        except Exception as error:  # the next dump gets EBUSY while this one runs
                            failure = error
                if self._hasty and flags & NLM_F_DUMP_INTR:
                    raise Interrupted(f"{what}: changed during the dump")
            if failure is not None:
                raise failure
            if not flags & NLM_F_DUMP_INTR or parsed == before:
                return parsed
            before = parsed
        raise Interrupted(f"{what}: changed during each of {_DUMP_ATTEMPTS} dumps")

    def head(
        self, what: str, type_: int, payload: bytes, enough: Callable[[int], bool]
    ) -> tuple[list[memoryview], bool]:
        """Return the payloads of the first messages of a dump, and whether it ended.

        `enough` gets the number of bytes so far after each datagram. A dump that did not end is
        still under way: close the connection.
        """
        sequence = self._send(type_, NLM_F_REQUEST | NLM_F_DUMP, payload)
        payloads: list[memoryview] = []
        taken = 0
        while not enough(taken):
            for kind, _, answer in self._receive(what, sequence):
                if ends(what, kind, answer):
                    return payloads, True
                payloads.append(answer)
                taken += HEADER.size + len(answer)
        return payloads, False

    def stream(
        self, what: str, type_: int, payload: bytes, take: Callable[[memoryview], bool]
    ) -> bool:
        """Give `take` each message's payload until it returns False; return whether it never did.

        A dump that did not end is still under way: close the connection.
        """
        sequence = self._send(type_, NLM_F_REQUEST | NLM_F_DUMP, payload)
        while True:
            for kind, _, answer in self._receive(what, sequence):
                if ends(what, kind, answer):
                    return True
                if not take(answer):
                    return False

    def _send(self, type_: int, flags: int, payload: bytes) -> int:
        """Send a request and return its sequence number."""
        sequence = next(self._sequence)
        header = HEADER.pack(HEADER.size + len(payload), type_, flags, sequence, 0)
        self._transport.send(header + payload)
        return sequence

    def _receive(self, what: str, sequence: int) -> Iterator[tuple[int, int, memoryview]]:
        """Return (type, flags, payload) for each message of the next datagram of an answer."""
        remaining = self._deadline - self._clock()
        if remaining <= 0:
            raise TimedOut(f"{what}: out of time")
        return messages_of(self._transport.receive(remaining), sequence, what)
