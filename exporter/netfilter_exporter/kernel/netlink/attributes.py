"""Netlink attributes: walking, finding and building them.

Source: struct nlattr in include/uapi/linux/netlink.h (v6.18). Headers are in host byte order, the
numbers in nfnetlink's attributes big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from netfilter_exporter.kernel import names
from netfilter_exporter.kernel.errors import Malformed

NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF

_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: nla_len, nla_type


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
    """Return where the value of the attribute at `path` into the nests stands, if it is present.

    Of a repeated type the last one.
    """
    for wanted in path:
        places = attribute_places(payload, start, end)
        found = [(at, stop) for type_, at, stop in places if type_ == wanted]
        if not found:
            return []
        start, end = found[-1]
    return [slice(start, end)]


class Attributes(dict[int, memoryview]):
    """Attributes by type; one that is missing is the kernel's breach of its promise."""

    def __missing__(self, type_: int) -> memoryview:
        raise Malformed(f"netlink: attribute {type_} is missing")


def attribute_map(payload: memoryview, start: int = 0) -> Attributes:
    """Return the attributes by type; of a repeated type the last one."""
    return Attributes(attributes(payload, start))


def pack(type_: int, value: bytes) -> bytes:
    """Return one attribute, padded to its alignment."""
    length = 4 + len(value)
    return _ATTRIBUTE.pack(length, type_) + value + b"\0" * (-length % 4)


def nest(type_: int, *attributes: bytes) -> bytes:
    """Return a nested attribute."""
    return pack(type_ | NLA_F_NESTED, b"".join(attributes))


def be32(value: memoryview) -> int:
    if len(value) != 4:
        raise Malformed(f"netlink: a 32-bit attribute of {len(value)} bytes")
    return int.from_bytes(value, "big")


def pack_name(type_: int, name: str) -> bytes:
    """Return an attribute that holds a NUL-terminated name."""
    return pack(type_, names.encode(name) + b"\0")


def text(value: bytes | memoryview) -> str:
    """Return a NUL-terminated name, from which `names.encode` makes the same bytes again."""
    return names.decode(bytes(value))
