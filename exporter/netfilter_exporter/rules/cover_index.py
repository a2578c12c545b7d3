"""The earlier rules of a chain, so kept that it is quick to find one that covers a later rule.

Rules that demand the same fields make a group. Of those whose numbers are a prefix or one number,
as nearly all are, the numbers are the key of a dictionary for each size: a later rule is covered if
it begins with the same bits. The others are compared one by one, a bounded number of them.
"""

from __future__ import annotations

import dataclasses
from typing import Callable, NamedTuple, Optional

from netfilter_exporter.rules.conditions import Condition, may_be_wider
from netfilter_exporter.rules.detail import NatTarget
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.match import Field, Intervals, Match, contains, covers
from netfilter_exporter.rules.model import Action
from netfilter_exporter.rules.shadows import ShadowingRule

#: Groups, sizes of a group, and rules that are compared one by one; of more, nothing is concluded.
_MOST = 64

#: What a rule translates to; None: it does not translate, or what to is unknown.
Translated = Optional[tuple[Optional[Action], Optional[NatTarget]]]


class Hider(NamedTuple):
    """A rule that no packet gets beyond that fulfils its condition."""

    place: ShadowingRule
    demands: Condition
    families: frozenset[Family]
    translated: Translated = None


#: A hider, and the number in the chain of the rule that hides, or jumps to what does.
Entry = tuple[int, Hider]


class Found(NamedTuple):
    """What is known of a rule that may be covered."""

    first: Entry | None  #: of those that cover it
    undecided: bool = False  #: none is proven to, and one may


_Key = tuple[tuple[Field, ...], tuple[Match, ...], bool, "frozenset[Family]"]


@dataclasses.dataclass
class _Group:
    """Rules that demand the same fields; what else they demand is the same."""

    condition: Condition  #: of the first of them
    aligned: dict[tuple[int, ...], dict[tuple[int, ...], Entry]] = dataclasses.field(
        default_factory=dict
    )
    others: list[tuple[tuple[Intervals, ...], Entry]] = dataclasses.field(default_factory=list)


class CoverIndex:
    """The rules so far that may hide a later one."""

    def __init__(self) -> None:
        self._groups: dict[_Key, _Group] = {}
        self._full = False  #: some rule found no place

    def forget(self, changed: Callable[[Condition], bool]) -> None:
        """Forget the rules whose condition is `changed`: a packet may no longer fulfil it."""
        if self._groups:
            groups = self._groups.items()
            self._groups = {k: g for k, g in groups if not changed(g.condition)}

    def depends_on(self, written: frozenset[Field] | None) -> bool:
        """Return whether the condition of a rule may change with the fields that are `written`."""
        return any(group.condition.depends_on(written) for group in self._groups.values())

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, number: int, hider: Hider) -> None:
        """Add a rule; numbers go up."""
        demands, entry = hider.demands, (number, hider)
        fields = tuple(sorted(demands.ranges, key=_by_name))
        key = fields, demands.others, demands.unknown, hider.families
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= _MOST:
                self._full = True
                return
            group = self._groups[key] = _Group(demands)
        intervals = tuple(demands.ranges[field] for field in fields)
        sizes = _sizes(intervals)
        if sizes is not None and (sizes in group.aligned or len(group.aligned) < _MOST):
            numbers = tuple(found[0][0] >> size for found, size in zip(intervals, sizes))
            group.aligned.setdefault(sizes, {}).setdefault(numbers, entry)
        elif len(group.others) < _MOST:
            group.others.append((intervals, entry))
        else:
            self._full = True

    def find(self, demands: Condition, families: frozenset[Family]) -> Found:
        """Return what covers a rule with these demands."""
        first: Entry | None = None
        maybe = self._full
        for (fields, others, unknown, of), group in self._groups.items():
            if not families <= of or not all(field in demands.ranges for field in fields):
                continue
            certain = not unknown
            if others:
                everything = demands.matches()
                missing = [o for o in others if not any(covers(o, m) for m in everything)]
                if not all(may_be_wider(other, everything) for other in missing):
                    continue
                certain = certain and not missing
            found = _first_of(group, tuple(demands.ranges[field] for field in fields))
            if found and certain:
                first = found if first is None or found[0] < first[0] else first
            maybe = maybe or bool(found)
        return Found(first, first is None and maybe)


def _by_name(field: Field) -> str:
    return field.name


def _sizes(intervals: tuple[Intervals, ...]) -> tuple[int, ...] | None:
    """Return how many bits each may vary in, where all are one prefix or number; else None."""
    sizes = []
    for found in intervals:
        if len(found) != 1:
            return None
        first, last = found[0]
        size = last - first
        if size & (size + 1) or first & size:
            return None
        sizes.append(size.bit_length())
    return tuple(sizes)


def _first_of(group: _Group, intervals: tuple[Intervals, ...]) -> Entry | None:
    """Return the first rule of a group that covers all of `intervals`, field by field."""
    lows = tuple(found[0][0] for found in intervals)
    highs = tuple(found[-1][1] for found in intervals)
    best: Entry | None = None
    for sizes, known in group.aligned.items():
        numbers = tuple(low >> size for low, size in zip(lows, sizes))
        if numbers == tuple(high >> size for high, size in zip(highs, sizes)):
            entry = known.get(numbers)
            if entry and (best is None or entry[0] < best[0]):
                best = entry
    for wide, entry in group.others:
        if best is not None and best[0] < entry[0]:
            break
        if all(contains(outer, inner) for outer, inner in zip(wide, intervals)):
            best = entry
            break
    return best
