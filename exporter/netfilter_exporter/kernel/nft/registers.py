"""What the registers of a rule hold while its expressions are walked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from netfilter_exporter.kernel.nft.uapi import (
    NFT_PAYLOAD_NETWORK_HEADER,
    NFT_PAYLOAD_TRANSPORT_HEADER,
    NFT_REG32_00,
    NFT_REG_4,
)
from netfilter_exporter.rules.families import IPV4, IPV6, Family
from netfilter_exporter.rules.match import Field

_WORDS = 4  # of NFT_REG_1 to NFT_REG_4


class Segment(NamedTuple):
    """A field, or the first bytes of one, among those that were loaded."""

    field: Field
    start: int
    size: int  #: bytes that were loaded


class Mask(NamedTuple):
    """A bitwise operation: where its mask is."""

    place: slice


@dataclasses.dataclass(frozen=True)
class Source:
    """What was loaded into a register."""

    what: str  #: name of the expression
    token: bytes = b""  #: what the same load has, and no other
    segments: tuple[Segment, ...] = ()  #: known fields; none: something else
    stable: bool = True  #: the same packet gives the same value
    host_order: bool = False  #: numbers are in the host's byte order
    meta: int | None = None  #: NFT_META_*, of an unchanged one
    mask: Mask | None = None
    constant: slice | None = None  #: where the value of an immediate is
    map: slice | None = None  #: where the map is named that it was looked up in
    may_fail: bool = False  #: a packet without it does not match


#: Network header: offset of each field (struct iphdr, struct ipv6hdr); transport header: ports.
_FIELDS_AT = {
    IPV4: ((9, Field.PROTOCOL), (12, Field.SOURCE_IPV4), (16, Field.DESTINATION_IPV4)),
    IPV6: ((6, Field.NEXT_HEADER), (8, Field.SOURCE_IPV6), (24, Field.DESTINATION_IPV6)),
}
_ADDRESSES = frozenset(
    {
        Field.SOURCE_IPV4,
        Field.DESTINATION_IPV4,
        Field.SOURCE_IPV6,
        Field.DESTINATION_IPV6,
    }
)
_PORTS_AT = ((0, Field.SOURCE_PORT), (2, Field.DESTINATION_PORT))


def payload_segments(
    base: int, offset: int, size: int, families: frozenset[Family]
) -> tuple[Segment, ...]:
    """Return the fields that a load of `size` bytes consists of; none where one is unknown.

    nft joins neighbors into one load (``ip saddr A ip daddr B``), and loads less of a field for a
    prefix of whole bytes.
    """
    if base == NFT_PAYLOAD_TRANSPORT_HEADER:  # one byte is the type of an ICMP message
        fields: Sequence[tuple[int, Field]] = _PORTS_AT if not size % 2 else ()
    elif base == NFT_PAYLOAD_NETWORK_HEADER:
        fields = _FIELDS_AT.get(families, ())
    else:
        fields = ()
    segments = []
    at = offset
    for start, field in fields:
        if at == start < offset + size:
            length = min(field.size, offset + size - at)
            segments.append(Segment(field, at - offset, length))
            at += length
    return tuple(segments) if at == offset + size else ()


def has_address(families: frozenset[Family], base: int, offset: int, size: int) -> bool:
    """Return whether `size` bytes hold a part of an address, in a packet of one of `families`."""
    return base == NFT_PAYLOAD_NETWORK_HEADER and any(
        at < offset + size and offset < at + field.size
        for family in families
        for at, field in _FIELDS_AT[frozenset({family})]
        if field in _ADDRESSES
    )


class Registers:
    """The registers, in words of four bytes."""

    def __init__(self) -> None:
        self._words: dict[int, Source] = {}
        self._fresh: list[int] = []  #: loaded since the last match, in that order
        self._unused: dict[int, Source] = {}  #: loads that no match has used

    def load(self, register: int, source: Source) -> None:
        """Put `source` where it begins; it fills as many words as it needs."""
        word = _word(register)
        if register <= NFT_REG_4:  # all of it is overwritten, or is left alone
            for behind in range(word + 1, word + _WORDS):
                self._words.pop(behind, None)
        self._words[word] = source
        self._fresh.append(word)
        if source.may_fail:
            self._unused[id(source)] = source

    def change(self, register: int, target: int, source: Source | None) -> None:
        """Replace what was computed from `register`."""
        old = self._words.get(_word(register))
        new = source or Source("changed", stable=False)
        self._words[_word(target)] = new
        if old is not None and id(old) in self._unused:
            del self._unused[id(old)]
            self._unused[id(new)] = new

    def get(self, register: int) -> Source | None:
        return self._words.get(_word(register))

    def match(self, register: int) -> Source | None:
        """Return what a match compares, which is used thereby."""
        source = self.get(register)
        if source is not None:
            self._unused.pop(id(source), None)
        self._fresh.clear()
        return source

    def concatenated(self, register: int) -> tuple[Source | None, ...]:
        """Return the parts of the key that begins in a register: what was loaded for this match."""
        first = _word(register)
        words = sorted({first, *(word for word in self._fresh if word > first)})
        found = tuple(self._words.get(word) for word in words)
        for source in found:
            self._unused.pop(id(source), None)
        self._fresh.clear()
        return found

    def unused(self) -> Iterable[Source]:
        """Return loads that may fail and that no match has used: conditions all the same."""
        return self._unused.values()


def _word(register: int) -> int:
    if register <= NFT_REG_4:
        return (register - 1) * _WORDS
    return register - NFT_REG32_00


@dataclasses.dataclass
class State:
    """What is known of a rule when an expression is decoded."""

    families: frozenset[Family]  #: that its packets can be of
    registers: Registers = dataclasses.field(default_factory=Registers)

    @property
    def family(self) -> Family | None:
        """The only one; None: it may be of both."""
        return next(iter(self.families)) if len(self.families) == 1 else None
