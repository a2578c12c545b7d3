"""What a rule demands of a packet, in a form in which many rules are compared at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from netfilter_exporter.rules.families import ETHERTYPES, Family
from netfilter_exporter.rules.match import (
    Bits,
    Field,
    InIpset,
    InSet,
    Intervals,
    Match,
    Opaque,
    Range,
    intersection,
)

#: Matches that some packets fail, whatever they compare: it is no question what they let pass.
_MAY_FAIL = frozenset(
    {
        *("connlimit", "limit", "quota", "computed cmp", "computed range", "ct cmp", "meta cmp"),
        *("xt bpf", "xt connbytes", "xt connlimit", "xt hashlimit", "xt limit", "xt nfacct"),
        *("xt quota", "xt recent", "xt statistic", "xt string", "xt time", "xt u32"),
    }
)


class Condition(NamedTuple):
    """What a rule, or several on the way to it, demand: all of it."""

    ranges: Mapping[Field, Intervals]
    others: tuple[Match, ...] = ()
    #: A part of it is unknown: it may let pass fewer packets than the rest says.
    unknown: bool = False

    @property
    def possible(self) -> bool:
        """Whether some packet may fulfil it."""
        return all(self.ranges.values())

    def matches(self) -> list[Match]:
        """Return it as matches, as far as it is known."""
        ranges = (Range(field, intervals) for field, intervals in self.ranges.items())
        return [*ranges, *self.others]

    def depends_on(self, written: frozenset[Field] | None) -> bool:
        """Return whether it may change with the fields that are `written`; None: with any."""
        if written is None:
            return bool(self.ranges or self.others or self.unknown)
        if not written:
            return False
        return not written.isdisjoint(self.ranges) or any(
            not written.isdisjoint(_fields(other)) for other in self.others
        )


ANY = Condition({})


def _fields(match: Match) -> Iterable[Field]:
    if isinstance(match, (Range, Bits)):
        return (match.field,)
    if isinstance(match, InSet):
        return [field or Field.OTHER for field in match.fields]
    return Field  # what an ipset, or bytes alone, compare is unknown


def condition(matches: Iterable[Match], families: frozenset[Family]) -> Condition | None:
    """Return what `matches` demand of packets of `families`; None: it also depends on chance."""
    ranges: dict[Field, Intervals] = {}
    others: list[Match] = []
    unknown = False
    for match in matches:
        if isinstance(match, Range):
            if not _says_family(match, families):
                known = ranges.get(match.field)
                both = match.intervals if known is None else intersection(known, match.intervals)
                ranges[match.field] = both
        elif isinstance(match, Opaque) and not match.stable:
            if match.what in _MAY_FAIL:
                return None
            unknown = True
        else:
            others.append(match)
    return Condition(ranges, tuple(others), unknown)


def _says_family(match: Range, families: frozenset[Family]) -> bool:
    """Return whether all packets of `families` fulfil a match."""
    if match.field is Field.FAMILY:
        numbers = [family.nfproto for family in families]
    elif match.field is Field.ETHERTYPE:
        numbers = [ETHERTYPES[family] for family in families]
    else:
        return False
    return all(any(a <= n <= b for a, b in match.intervals) for n in numbers)


def both(one: Condition, other: Condition) -> Condition:
    """Return the condition that demands what both do."""
    ranges = dict(one.ranges)
    for field, intervals in other.ranges.items():
        ranges[field] = intersection(ranges[field], intervals) if field in ranges else intervals
    others = one.others + tuple(match for match in other.others if match not in one.others)
    return Condition(ranges, others, one.unknown or other.unknown)


def are_apart(one: Condition, other: Condition) -> bool:
    """Return whether it is proven that no packet fulfils both."""
    return any(
        field in other.ranges and not intersection(intervals, other.ranges[field])
        for field, intervals in one.ranges.items()
    )


def may_be_wider(outer: Match, inner: Iterable[Match]) -> bool:
    """Return whether `outer` may accept all that one of `inner` does, by unread contents."""
    if isinstance(outer, InSet):
        return any(
            isinstance(m, InSet) and (m.fields, m.negated) == (outer.fields, outer.negated)
            for m in inner
        )
    if isinstance(outer, InIpset):
        return any(isinstance(m, InIpset) and m[1:] == outer[1:] for m in inner)
    if isinstance(outer, Opaque):
        kind = _kind(outer)
        return any(isinstance(m, Opaque) and _kind(m) == kind for m in inner)
    return False


def _kind(match: Opaque) -> tuple[str, bytes]:
    """Return what a match compares: its bytes begin with that, behind its length."""
    length, _, rest = match.token.partition(b":")
    return match.what, rest[: int(length)] if length.isdigit() else match.token
