"""Netlink messages: their headers, their errors, and the nfnetlink header inside them.

Source: include/uapi/linux/netlink.h and include/uapi/linux/netfilter/nfnetlink.h (v6.18).
All header fields are in host byte order.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from netfilter_exporter.kernel.errors import Malformed, ReadError, from_oserror
from netfilter_exporter.kernel.netlink.attributes import Attributes, attribute_map, attribute_places

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

HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: len, type, flags, seq, pid
NFGENMSG = struct.Struct("=BBH")  # struct nfgenmsg: nfgen_family, version, res_id (big-endian)
_ERRNO = struct.Struct("=i")  # struct nlmsgerr begins with it
_MAX_ERRNO = 4095  # include/linux/err.h


class NetlinkError(ReadError):
    """The kernel refused a request; `errno` is its reason."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(f"{what}: {os.strerror(number)} (errno {number})")
        self.errno = number
        self.status = from_oserror(OSError(number, ""), what).status


def messages_of(
    datagram: memoryview, wanted: int | None, what: str
) -> Iterator[tuple[int, int, memoryview]]:
    """Yield (type, flags, payload) for each message of a datagram that answers request `wanted`.

    The others are left over from a request that was given up. None: every message.
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
        if (sequence == wanted or wanted is None) and type_ != NLMSG_NOOP:
            yield type_, flags, datagram[offset + size : after]
        offset = (after + 3) & ~3


def ends(what: str, type_: int, payload: memoryview) -> bool:
    """Return whether a message ends an answer; raise its error if it is one."""
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


def nfgenmsg(family: int) -> bytes:
    """Return the header of every nfnetlink message, for `family` (NFPROTO_*)."""
    return NFGENMSG.pack(family, 0, 0)


def nfnetlink_places(payload: memoryview) -> dict[int, slice]:
    """Return where the value of each attribute of an nfnetlink message is, by type."""
    if len(payload) < NFGENMSG.size:
        raise Malformed(f"nfnetlink: a message of {len(payload)} bytes")
    places = attribute_places(payload, NFGENMSG.size, len(payload))
    return {type_: slice(start, end) for type_, start, end in places}


def nfnetlink_map(payload: memoryview) -> Attributes:
    """Return the attributes of an nfnetlink message, which are behind its struct nfgenmsg."""
    if len(payload) < NFGENMSG.size:
        raise Malformed(f"nfnetlink: a message of {len(payload)} bytes")
    return attribute_map(payload, NFGENMSG.size)
