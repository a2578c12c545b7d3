"""What comparing a register means: the matches of a rule, out of the bytes that are compared."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable

from netfilter_exporter.kernel import names
from netfilter_exporter.kernel.nft.registers import Segment, Source
from netfilter_exporter.kernel.nft.uapi import (
    NFT_CMP_EQ,
    NFT_CMP_GT,
    NFT_CMP_GTE,
    NFT_CMP_LT,
    NFT_CMP_LTE,
    NFT_CMP_NEQ,
)
from netfilter_exporter.kernel.rule_parts import MatchAt, known, opaque_bytes
from netfilter_exporter.rules.match import (
    INTERFACES,
    Field,
    InSet,
    Match,
    Opaque,
    masked,
    named,
    ranged,
)

_EQUALITY = (NFT_CMP_EQ, NFT_CMP_NEQ)


def comparison(source: Source | None, operator: int, data: slice) -> tuple[MatchAt, ...]:
    """Return the matches of an NFT_CMP_* with the bytes at `data`."""
    if source is None or not source.stable:
        return (_unstable(source, "cmp"),)
    segments = _compared(source, data.stop - data.start)
    if not segments or (len(segments) > 1 and (operator != NFT_CMP_EQ or source.mask)):
        return (_opaque(source, f"cmp {operator}", data),)
    if source.mask and operator not in _EQUALITY:
        return (_opaque(source, f"cmp {operator}", data),)
    places = (data, source.mask.place) if source.mask else (data,)
    return tuple(
        MatchAt(compared, (segment, operator, source.host_order), places) for segment in segments
    )


def between(source: Source | None, first: slice, last: slice, *, negated: bool) -> MatchAt:
    """Return the match of a range expression."""
    if source is None or not source.stable:
        return _unstable(source, "range")
    segments = _compared(source, first.stop - first.start)
    whole = len(segments) == 1 and segments[0].size == segments[0].field.size
    if not whole or source.mask or last.stop - last.start != first.stop - first.start:
        return _opaque(source, f"range {negated}", first, last)
    return MatchAt(in_range, (segments[0].field, negated, source.host_order), (first, last))


def lookup(sources: Iterable[Source | None], name: slice, *, negated: bool) -> MatchAt:
    """Return the match of a lookup in the set that is named at `name`."""
    fields = tuple(field for source in sources for field in _fields(source))
    return MatchAt(in_set, (fields, negated), (name,))


def _fields(source: Source | None) -> tuple[Field | None, ...]:
    if source is None or source.mask or not source.segments:
        return (None,)
    return tuple(
        segment.field if segment.size == segment.field.size else None for segment in source.segments
    )


def _compared(source: Source, size: int) -> tuple[Segment, ...]:
    """Return the fields among the first `size` bytes of what was loaded."""
    within = (s._replace(size=min(s.size, size - s.start)) for s in source.segments)
    segments = tuple(segment for segment in within if segment.size > 0)
    part = any(s.size != s.field.size for s in segments)
    return () if part and source.host_order else segments


def _unstable(source: Source | None, what: str) -> MatchAt:
    return known(Opaque(f"{source.what if source else 'register'} {what}"))


def _opaque(source: Source, what: str, *places: slice) -> MatchAt:
    masks = (source.mask.place,) if source.mask else ()
    return MatchAt(opaque_bytes, (f"{source.what} {what}", source.token), (*places, *masks))


# -- read from the values of a rule -----------------------------------------------------------


def compared(
    segment: Segment, operator: int, host_order: bool, data: bytes, mask: bytes | None = None
) -> tuple[Match, ...]:
    """Read the match of a field with a part of `data`."""
    start, end = segment.start, segment.start + segment.size
    if segment.field in INTERFACES and operator in _EQUALITY and mask is None:
        return (named(segment.field, data[start:end], negated=operator == NFT_CMP_NEQ),)
    value, shift = _number(data[start:end], host_order), 8 * (segment.field.size - segment.size)
    if mask is not None:
        bits = _number(mask[start:end], host_order) << shift
        return (masked(segment.field, bits, value << shift, negated=operator == NFT_CMP_NEQ),)
    return (_ordered(segment.field, operator, value << shift, (1 << shift) - 1),)


def in_range(
    field: Field, negated: bool, host_order: bool, first: bytes, last: bytes
) -> tuple[Match, ...]:
    """Read the match of a field with an interval."""
    pair = _number(first, host_order), _number(last, host_order)
    return (ranged(field, [pair], negated=negated),)


@functools.lru_cache(maxsize=1024)
def in_set(
    fields: tuple[Field | None, ...],
    negated: bool,
    name: bytes,
) -> tuple[Match, ...]:
    """Read the match of fields with a set."""
    return (InSet(fields, names.decode(name), negated),)


def _number(data: bytes, host_order: bool) -> int:
    return int.from_bytes(data, sys.byteorder if host_order else "big")


def _ordered(field: Field, operator: int, value: int, rest: int) -> Match:
    """Return the match with a number, of which all that begin alike are equal: up to `rest`."""
    pairs = {
        NFT_CMP_EQ: (value, value | rest),
        NFT_CMP_LT: (0, value - 1),
        NFT_CMP_LTE: (0, value | rest),
        NFT_CMP_GT: ((value | rest) + 1, field.largest),
        NFT_CMP_GTE: (value, field.largest),
    }
    if operator == NFT_CMP_NEQ:
        return ranged(field, [pairs[NFT_CMP_EQ]], negated=True)
    return ranged(field, [pairs[operator]])
