"""Netlink messages as a kernel writes them."""

from __future__ import annotations

import struct

from netfilter_exporter.kernel.netlink.attributes import attribute_map
from netfilter_exporter.kernel.netlink.messages import HEADER, NFGENMSG, NLMSG_DONE, NLMSG_ERROR

NLM_F_MULTI = 2
#: include/uapi/linux/netfilter/nfnetlink_conntrack.h
CTA_TUPLE_ORIG = 1
_CTA_TUPLE_PROTO, _CTA_PROTO_SRC_PORT, _CTA_PROTO_DST_PORT = 2, 2, 3


def with_sequence(datagram: bytes, sequence: int) -> bytes:
    """Return the datagram with the sequence number of a new request in each message."""
    answer = bytearray(datagram)
    offset = 0
    while offset < len(answer):
        length, type_, flags, _, port = HEADER.unpack_from(answer, offset)
        HEADER.pack_into(answer, offset, length, type_, flags, sequence, port)
        offset += (length + 3) & ~3
    return bytes(answer)


def message(type_: int, flags: int, body: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(body), type_, flags, 0, 0) + body


def done() -> bytes:
    return message(NLMSG_DONE, NLM_F_MULTI, struct.pack("=i", 0))


def error(number: int) -> bytes:
    """Return an NLMSG_ERROR; of the request that the kernel repeats, only an empty header."""
    return message(NLMSG_ERROR, 0, struct.pack("=i", -number) + bytes(HEADER.size))


def errno_of(datagram: bytes) -> int:
    """Return the error that a datagram begins with, or 0."""
    _, type_, _, _, _ = HEADER.unpack_from(datagram)
    if type_ != NLMSG_ERROR:
        return 0
    (number,) = struct.unpack_from("=i", datagram, HEADER.size)
    return -int(number)


def ports(payload: bytes) -> tuple[int, int]:
    """Return source and destination port of the tuple in a ctnetlink request."""
    request = attribute_map(memoryview(payload), NFGENMSG.size)
    tuple_ = attribute_map(request[CTA_TUPLE_ORIG])
    proto = attribute_map(tuple_[_CTA_TUPLE_PROTO])
    source, destination = proto[_CTA_PROTO_SRC_PORT], proto[_CTA_PROTO_DST_PORT]
    return int.from_bytes(source, "big"), int.from_bytes(destination, "big")
