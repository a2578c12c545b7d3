"""Matches of rules, and what can be proven about two of them without a packet.

A rule matches a packet if all its matches accept it. Both backends' decoders produce these, so that
the analysis knows neither bytes nor backends. Numbers are as people write them: addresses, ports
and marks as integers, interface names as 16 bytes, the first one the most significant: a name with
a wildcard is an interval, just as a prefix of addresses is.

What can be proven is conservative: intervals, prefixes and masks are compared as sets of numbers;
anything unknown is equal only to the very same bytes, and only where it is stable.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Union

from netfilter_exporter.rules.families import Family

#: Sorted, disjoint and not adjacent: first and last number of each.
Intervals = tuple[tuple[int, int], ...]

INTERFACE_BYTES = 16  # IFNAMSIZ


class Field(enum.Enum):
    """What of a packet a match compares: a name, and the size of its numbers in bytes."""

    INPUT_INTERFACE = "iifname", INTERFACE_BYTES
    OUTPUT_INTERFACE = "oifname", INTERFACE_BYTES
    INPUT_INDEX = "iif", 4
    OUTPUT_INDEX = "oif", 4
    FAMILY = "nfproto", 1  #: NFPROTO_*
    ETHERTYPE = "protocol", 2
    PROTOCOL = "l4proto", 1  #: IPPROTO_*
    NEXT_HEADER = "ip6 nexthdr", 1
    SOURCE_IPV4 = "ip saddr", 4
    DESTINATION_IPV4 = "ip daddr", 4
    SOURCE_IPV6 = "ip6 saddr", 16
    DESTINATION_IPV6 = "ip6 daddr", 16
    SOURCE_PORT = "sport", 2
    DESTINATION_PORT = "dport", 2
    MARK = "mark", 4
    CT_MARK = "ct mark", 4
    CT_STATE = "ct state", 4  #: one bit: 1 invalid, 2 established, 4 related, 8 new, 64 untracked
    CT_STATUS = "ct status", 4  #: bits: IPS_* (nf_conntrack_common.h)
    USER = "skuid", 4
    GROUP = "skgid", 4
    SOURCE_TYPE = "fib saddr type", 4  #: RTN_* (include/uapi/linux/rtnetlink.h): 2 is local
    DESTINATION_TYPE = "fib daddr type", 4
    OTHER = "other", 0  #: whatever has no name here: only rules that write it say so

    __hash__ = object.__hash__  # members are singletons; Enum's own hash is ten times slower

    def __init__(self, _: str, size: int) -> None:
        self.size = size  #: attributes: to get at an Enum's `value` takes ten times as long
        self.largest = (1 << 8 * size) - 1


INPUTS = frozenset({Field.INPUT_INTERFACE, Field.INPUT_INDEX})
INTERFACES = frozenset({Field.INPUT_INTERFACE, Field.OUTPUT_INTERFACE})
SOURCES = {Family.IPV4: Field.SOURCE_IPV4, Family.IPV6: Field.SOURCE_IPV6}
DESTINATIONS = {Family.IPV4: Field.DESTINATION_IPV4, Family.IPV6: Field.DESTINATION_IPV6}
#: The family of a field that holds a source, or a destination.
FAMILY_OF_SOURCE = {field: family for family, field in SOURCES.items()}
FAMILY_OF_DESTINATION = {field: family for family, field in DESTINATIONS.items()}
LOOPBACK: dict[Family, Intervals] = {
    Family.IPV4: ((127 << 24, (128 << 24) - 1),),
    Family.IPV6: ((1, 1),),
}
#: In these exactly one bit is set, so that "any of these bits" is a set of numbers.
ONE_BIT = frozenset({Field.CT_STATE})


class Range(NamedTuple):
    """The field is in one of the intervals; those of a negated match are the others."""

    field: Field
    intervals: Intervals
    negated: bool = False  #: how it was written


class Bits(NamedTuple):
    """``field & mask == value``, or not, where the mask is not that of a prefix."""

    field: Field
    mask: int
    value: int
    negated: bool = False


class InSet(NamedTuple):
    """The fields, concatenated, are in a set, or a key of a map, of the same nftables table."""

    fields: tuple[Field | None, ...]  #: None: a part that has no name here
    name: str
    negated: bool = False


class InIpset(NamedTuple):
    """The packet is in the set of ipset(8) with this number; `flags` are IPSET_DIM_*_SRC and so on.

    Source: struct xt_set_info, include/uapi/linux/netfilter/xt_set.h (v6.18).
    """

    number: int
    dimensions: int
    flags: int
    negated: bool = False


class Opaque(NamedTuple):
    """A match that is known by its bytes alone."""

    what: str  #: the name of the expression or extension
    token: bytes = b""
    #: Whether the same bytes accept the same packet again: not so with a limit or a random number.
    stable: bool = False


Match = Union[Range, Bits, InSet, InIpset, Opaque]


def intervals_of(pairs: Iterable[tuple[int, int]]) -> Intervals:
    """Return any pairs of first and last number in the form of `Intervals`."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(pair for pair in pairs if pair[0] <= pair[1]):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return tuple(merged)


def ranged(field: Field, pairs: Iterable[tuple[int, int]], *, negated: bool = False) -> Range:
    """Return the match that accepts numbers in one of `pairs`, or in none of them."""
    intervals = intervals_of(pairs)
    return Range(field, _complement(field, intervals) if negated else intervals, negated)


def masked(field: Field, mask: int, value: int, *, negated: bool = False) -> Range | Bits:
    """Return the match ``field & mask == value``, as a range where the mask allows it."""
    if value & ~mask:
        return ranged(field, (), negated=negated)
    if field in ONE_BIT and not value:  # none of these bits
        bits = ((1 << n, 1 << n) for n in range(mask.bit_length()) if mask >> n & 1)
        return ranged(field, bits, negated=not negated)
    rest = field.largest & ~mask
    if rest & (rest + 1):
        return Bits(field, mask, value, negated)
    return ranged(field, [(value, value | rest)], negated=negated)


def named(field: Field, content: bytes, *, negated: bool = False) -> Range:
    """Return the match of an interface name; `content` without a NUL is the beginning of one."""
    name, whole, _ = content.partition(b"\0")
    first = interface_number(name)
    rest = 0 if whole else (1 << 8 * (INTERFACE_BYTES - len(name))) - 1
    return ranged(field, [(first, first | rest)], negated=negated)


def interface_number(name: bytes) -> int:
    """Return an interface name as the number that matches compare."""
    return int.from_bytes(name.ljust(INTERFACE_BYTES, b"\0"), "big")


def _complement(field: Field, intervals: Intervals) -> Intervals:
    found = []
    first = 0
    for start, end in intervals:
        found.append((first, start - 1))
        first = end + 1
    return intervals_of([*found, (first, field.largest)])


def contains(outer: Intervals, inner: Intervals) -> bool:
    """Return whether every number of `inner` is in `outer`."""
    return all(any(a <= first and last <= b for a, b in outer) for first, last in inner)


def intersection(one: Intervals, other: Intervals) -> Intervals:
    return intervals_of((max(a, c), min(b, d)) for a, b in one for c, d in other)


def covers(outer: Match, inner: Match) -> bool:
    """Return whether it is proven that `outer` accepts every packet that `inner` accepts.

    Both see the packet in the same state: nothing between them may write the field
    (`Form.writes`), nor add to a set.
    """
    if isinstance(outer, Range):
        return _range_covers(outer, inner)
    if isinstance(outer, Bits):
        return _bits_cover(outer, inner)
    if isinstance(outer, Opaque):
        return outer.stable and outer == inner
    return outer == inner


def _range_covers(outer: Range, inner: Match) -> bool:
    if isinstance(inner, Range):
        return outer.field is inner.field and contains(outer.intervals, inner.intervals)
    if isinstance(inner, Bits) and not inner.negated:
        most = inner.value | inner.field.largest & ~inner.mask
        return outer.field is inner.field and contains(outer.intervals, ((inner.value, most),))
    return False


def _bits_cover(outer: Bits, inner: Match) -> bool:
    if outer == inner:
        return True
    if isinstance(inner, Bits) and inner.field is outer.field and not inner.negated:
        known = not outer.mask & ~inner.mask
        return known and (inner.value & outer.mask == outer.value) is not outer.negated
    if isinstance(inner, Range) and inner.field is outer.field:
        return all(_bits_accept(outer, first, last) for first, last in inner.intervals)
    return False


def _bits_accept(outer: Bits, first: int, last: int) -> bool:
    """Return whether all numbers from `first` to `last` agree in the compared bits, and fit."""
    varying = (1 << (first ^ last).bit_length()) - 1
    return not outer.mask & varying and (first & outer.mask == outer.value) is not outer.negated


def narrowed(matches: Iterable[Match]) -> list[Match]:
    """Return the same condition with one range for each field: all of them have to accept."""
    ranges: dict[Field, Range] = {}
    others: list[Match] = []
    for match in matches:
        if not isinstance(match, Range):
            others.append(match)
        elif match.field in ranges:
            both = intersection(ranges[match.field].intervals, match.intervals)
            ranges[match.field] = match._replace(intervals=both)
        else:
            ranges[match.field] = match
    return [*ranges.values(), *others]


def excludes(one: Sequence[Match], other: Sequence[Match]) -> bool:
    """Return whether it is proven that no packet is accepted by both sets of matches."""
    ranges = {m.field: m for m in narrowed(one) if isinstance(m, Range)}
    return any(
        isinstance(m, Range)
        and m.field in ranges
        and not intersection(m.intervals, ranges[m.field].intervals)
        for m in narrowed(other)
    )


def interface_names(match: Range) -> tuple[str, ...]:
    """Return the whole interface names among what a match accepts: not those of a wildcard."""
    names = (first.to_bytes(INTERFACE_BYTES, "big") for first, last in match.intervals)
    whole = (name.rstrip(b"\0") for name, (a, b) in zip(names, match.intervals) if a == b)
    return tuple(name.decode("utf-8", "surrogateescape") for name in whole)
