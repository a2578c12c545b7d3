"""Netlink messages: building, sending and walking them.

Source: include/uapi/linux/netlink.h and include/uapi/linux/netfilter/nfnetlink.h (v6.18).
All header fields are in host byte order; nfnetlink attributes are big-endian.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from typing import Callable, Protocol, TypeVar

from netfilter_exporter.kernel.errors import (
    Malformed,
    ReadError,
    TimedOut,
    Unsupported,
    from_oserror,
)

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

NLM_F_REQUEST = 0x001
NLM_F_ACK = 0x004
NLM_F_DUMP_INTR = 0x010
NLM_F_DUMP = 0x300

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSG_MIN_TYPE = 0x10

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: len, type, flags, seq, pid
NFGENMSG = struct.Struct("=BBH")  # struct nfgenmsg: nfgen_family, version, res_id (big-endian)
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: nla_len, nla_type
_ERRNO = struct.Struct("=i")  # struct nlmsgerr begins with it

#: A dump fills at most 32 KiB a datagram (netlink_dump, net/netlink/af_netlink.c, since v4.6).
_BUFFER = 1 << 17
_WHOLE = int(socket.MSG_TRUNC)  # the kernel tells the datagram's true length
_AT_ONCE = _WHOLE | int(socket.MSG_DONTWAIT)
_DUMP_ATTEMPTS = 4
_MAX_ERRNO = 4095  # include/linux/err.h


T = TypeVar("T")


class Transport(Protocol):
    """A netlink socket, or its double in the tests."""

    def send(self, datagram: bytes) -> None: ...

    def receive(self, timeout: float) -> memoryview:
        """Return the next datagram; raise `TimedOut` when none comes within `timeout` seconds."""

    def close(self) -> None: ...


class NetlinkSocket:
    """A netlink socket of the running kernel.

    Opening NETLINK_NETFILTER loads nfnetlink where that is a module: ask a gate first.
    """

    def __init__(self, protocol: int) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        except OSError as error:
            if error.errno == errno.EPROTONOSUPPORT:
                raise Unsupported(f"netlink protocol {protocol}: not in this kernel") from None
            raise from_oserror(error, f"netlink protocol {protocol}") from None
        self._buffer = bytearray(_BUFFER)

    def send(self, datagram: bytes) -> None:
        try:
            self._socket.send(datagram)
        except OSError as error:
            raise from_oserror(error, "netlink send") from None

    def receive(self, timeout: float) -> memoryview:
        try:
            size = self._receive(timeout)
        except OSError as error:
            raise from_oserror(error, "netlink receive") from None
        if size > _BUFFER:
            raise Malformed(f"netlink: a datagram of {size} bytes was cut at {_BUFFER}")
        return memoryview(bytes(memoryview(self._buffer)[:size]))

    def _receive(self, timeout: float) -> int:
        try:
            # The kernel answers within send(): there mostly is nothing to wait for.
            return self._socket.recv_into(self._buffer, _BUFFER, _AT_ONCE)
        except BlockingIOError:
            return self._wait(timeout)

    def _wait(self, timeout: float) -> int:
        self._socket.settimeout(timeout)
        try:
            return self._socket.recv_into(self._buffer, _BUFFER, _WHOLE)
        except socket.timeout:
            raise TimedOut(f"netlink: no answer within {timeout:.1f} s") from None
        finally:
            self._socket.settimeout(None)

    def close(self) -> None:
        self._socket.close()


class NetlinkError(ReadError):
    """The kernel refused a request; `errno` is its reason."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what}: {os.strerror(number)} (errno {number})")
        self.errno = number
        self.status = from_oserror(OSError(number, ""), what).status


class Interrupted(ReadError):
    """What was dumped changed during the dump, every time it was repeated."""


class Connection:
    """Requests and dumps over one `Transport`, within a deadline."""

    def __init__(
        self, transport: Transport, deadline: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._transport = transport
        self._deadline = deadline
        self._clock = clock
        self._sequence = itertools.count(1)

    def close(self) -> None:
        self._transport.close()

    def ask(self, what: str, type_: int, payload: bytes) -> memoryview:
        """Send a request that one message answers, and return that message's payload.

        Some of these answers carry NLM_F_MULTI with no NLMSG_DONE behind (ctnetlink's
        GET_STATS and CT_GET), so the first message is taken and none is waited for.
        """
        sequence = self._send(type_, NLM_F_REQUEST, payload)
        while True:
            for kind, _, answer in self._receive(what, sequence):
                if not _ends(what, kind, answer):
                    return answer
                raise Malformed(f"{what}: an empty answer")

    def command(self, what: str, type_: int, payload: bytes) -> None:
        """Send a request that is answered by an acknowledgement."""
        sequence = self._send(type_, NLM_F_REQUEST | NLM_F_ACK, payload)
        while True:
            for kind, _, answer in self._receive(what, sequence):
                if _ends(what, kind, answer):
                    return

    def dump(
        self, what: str, type_: int, payload: bytes, parse: Callable[[memoryview], T]
    ) -> list[T]:
        """Return what `parse` makes of each message's payload, in order.

        Parsed as they arrive, so that a dump of ten megabytes is never held whole. Repeated
        when the kernel says that something changed meanwhile, until two in a row are the same:
        what changed was something else, such as the elements of a set.
        """
        before: list[T] | None = None
        for _ in range(_DUMP_ATTEMPTS):
            sequence = self._send(type_, NLM_F_REQUEST | NLM_F_DUMP, payload)
            parsed: list[T] = []
            failure: Exception | None = None
            flags = 0
            done = False
            while not done:
                for kind, told, answer in self._receive(what, sequence):
                    flags |= told  # those of NLMSG_DONE may be all that tells of a change
                    if kind < NLMSG_MIN_TYPE:
                        done = _ends(what, kind, answer)
                    elif failure is None:
                        try:
                            parsed.append(parse(answer))
                        except Exception as error:  # the next dump gets EBUSY while this one runs
                            failure = error
            if failure is not None:
                raise failure
            if not flags & NLM_F_DUMP_INTR or parsed == before:
                return parsed
            before = parsed
        raise Interrupted(f"{what}: changed during each of {_DUMP_ATTEMPTS} dumps")

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


def messages_of(
    datagram: memoryview, wanted: int, what: str
) -> Iterator[tuple[int, int, memoryview]]:
    """Yield (type, flags, payload) for each message of a datagram that answers request `wanted`.

    The others are left over from a request that was given up.
    """
    offset, end = 0, len(datagram)
    unpack, size = HEADER.unpack_from, HEADER.size
    while offset < end:
        if end - offset < size:
            raise Malformed(f"{what}: {end - offset} stray bytes after the last message")
        length, type_, flags, sequence, _ = unpack(datagram, offset)
        after = offset + length
        if length < size or after > end:
            raise Malformed(f"{what}: a message claims {length} of {end - offset} bytes")
        if sequence == wanted and type_ != NLMSG_NOOP:
            yield type_, flags, datagram[offset + size : after]
        offset = (after + 3) & ~3


def _ends(what: str, type_: int, payload: memoryview) -> bool:
    """Tell whether a message ends an answer; raise its error if it is one."""
    if type_ >= NLMSG_MIN_TYPE:
        return False
    _raise_error(what, payload)
    return True


def _raise_error(what: str, payload: memoryview) -> None:
    """Raise the error of an NLMSG_ERROR or NLMSG_DONE payload; zero is an acknowledgement."""
    if len(payload) < _ERRNO.size:
        raise Malformed(f"{what}: an error message without a number")
    number = -_ERRNO.unpack_from(payload)[0]
    if number > _MAX_ERRNO:
        raise Malformed(f"{what}: an error with the number {number}")
    if number > 0:
        raise NetlinkError(what, number)


def attributes(payload: memoryview, start: int = 0) -> Iterator[tuple[int, memoryview]]:
    """Yield (type, value) for each attribute from `start` to the end of `payload`."""
    # As attribute_places(), in one generator: this is asked a hundred thousand times in a row.
    offset, end = start, len(payload)
    unpack = _ATTRIBUTE.unpack_from
    while end - offset >= 4:
        length, type_ = unpack(payload, offset)
        if length < 4 or offset + length > end:
            raise Malformed(f"netlink attribute {type_} claims {length} of {end - offset} bytes")
        yield type_ & NLA_TYPE_MASK, payload[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attribute_places(payload: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (type, start, end) for the value of each attribute in that part of `payload`."""
    offset = start
    unpack = _ATTRIBUTE.unpack_from
    while end - offset >= 4:
        length, type_ = unpack(payload, offset)
        if length < 4 or offset + length > end:
            raise Malformed(f"netlink attribute {type_} claims {length} of {end - offset} bytes")
        yield type_ & NLA_TYPE_MASK, offset + 4, offset + length
        offset += (length + 3) & ~3


def find_attribute(payload: memoryview, start: int, end: int, path: Iterable[int]) -> list[slice]:
    """Return where the value of the attribute at `path` into the nests stands, if it is there.

    Of a repeated type the last one.
    """
    for wanted in path:
        places = attribute_places(payload, start, end)
        found = [(at, stop) for type_, at, stop in places if type_ == wanted]
        if not found:
            return []
        start, end = found[-1]
    return [slice(start, end)]


def nfnetlink_places(payload: memoryview) -> dict[int, slice]:
    """Return where the value of each attribute of an nfnetlink message is, by type."""
    if len(payload) < NFGENMSG.size:
        raise Malformed(f"nfnetlink: a message of {len(payload)} bytes")
    places = attribute_places(payload, NFGENMSG.size, len(payload))
    return {type_: slice(start, end) for type_, start, end in places}


class Attributes(dict[int, memoryview]):
    """Attributes by type; one that is missing is the kernel's breach of its promise."""

    def __missing__(self, type_: int) -> memoryview:
        raise Malformed(f"netlink: attribute {type_} is missing")


def attribute_map(payload: memoryview, start: int = 0) -> Attributes:
    """Return the attributes by type; of a repeated type the last one."""
    return Attributes(attributes(payload, start))


def nfnetlink_map(payload: memoryview) -> Attributes:
    """Return the attributes of an nfnetlink message, which are behind its struct nfgenmsg."""
    if len(payload) < NFGENMSG.size:
        raise Malformed(f"nfnetlink: a message of {len(payload)} bytes")
    return attribute_map(payload, NFGENMSG.size)


def pack(type_: int, value: bytes) -> bytes:
    """Return one attribute, padded to its alignment."""
    length = 4 + len(value)
    return _ATTRIBUTE.pack(length, type_) + value + b"\0" * (-length % 4)


def nest(type_: int, *attributes: bytes) -> bytes:
    """Return a nested attribute."""
    return pack(type_ | NLA_F_NESTED, b"".join(attributes))


def nfgenmsg(family: int) -> bytes:
    """Return the header of every nfnetlink message, for `family` (NFPROTO_*)."""
    return NFGENMSG.pack(family, 0, 0)


def be32(value: memoryview) -> int:
    if len(value) != 4:
        raise Malformed(f"netlink: a 32-bit attribute of {len(value)} bytes")
    return int.from_bytes(value, "big")


def text(value: bytes | memoryview) -> str:
    """Return a NUL-terminated name; bytes that are no UTF-8 are kept readable."""
    return bytes(value).split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
