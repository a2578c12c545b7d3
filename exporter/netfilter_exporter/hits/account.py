"""Keeps the account of hits: each rule's counter, over reloads, zeroing and replacement.

A rule is known by its handle and its content, and its account goes on while it exists. What a rule
had counted before it was first seen is no hit: `nft -f` of a saved listing and
`iptables-restore -c` create rules whose counters begin with the hits of an earlier life. Not
detected: a rule that is replaced by the same one with a larger counter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Callable, NamedTuple

from netfilter_exporter.kernel.errors import Inconclusive
from netfilter_exporter.rules.counted import CountedRule
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.model import Action


class Changed(Inconclusive):
    """The rules are no longer those that are known: the next look may find them again."""


class Reading(NamedTuple):
    """What a rule has counted."""

    rule: CountedRule
    key: Hashable  #: the same as long as the rule is
    packets: int


class Readings(NamedTuple):
    """What the rules of a ruleset have counted."""

    rules: Sequence[Reading]
    #: the same as long as no rule was replaced; None where that is unknown
    state: Hashable | None = None


class Hits(NamedTuple):
    """The hits of one ruleset since the exporter started, and of how many rules they are known."""

    translations: Mapping[tuple[Family, Action], int]
    counted: Mapping[Family, int]
    #: by name: of the rules that the configuration names, where all that fit are known
    named: Mapping[str, int]


#: Returns whether a rule is one that the configuration names.
Fits = Callable[[CountedRule], bool]


class _Alike(NamedTuple):
    """Positions in a reading of rules that are alike."""

    actions: Mapping[tuple[Family, Action], Sequence[int]]
    families: Mapping[Family, Sequence[int]]
    named: Mapping[str, Sequence[int]]


class Account:
    """The account of one ruleset; not for several threads."""

    def __init__(self) -> None:
        self._before: dict[Hashable, int] | None = None
        self._state: Hashable | None = None
        self._translations: Counter[tuple[Family, Action]] = Counter()
        self._named: Counter[str] = Counter()
        self._fits: Mapping[str, Fits] = {}
        self._rules: list[CountedRule] = []
        self._alike = _Alike({}, {}, {})  #: of these rules

    def name(self, rules: Mapping[str, Fits]) -> None:
        """Count the hits of these rules by name; those of a name that stays go on."""
        if rules == self._fits:
            return
        for name in self._fits:
            if self._fits[name] != rules.get(name):
                del self._named[name]
        self._fits = rules
        self._alike = self._group(self._rules)

    def has_fallen(self, found: Readings) -> bool:
        """Return whether a counter is smaller than before."""
        before = self._before or {}
        return any(each.packets < before.get(each.key, 0) for each in found.rules)

    def take(self, found: Readings) -> Hits:
        """Add what was counted since the reading before."""
        in_place = found.state is not None and found.state == self._state
        hits = self._hits(found.rules, in_place=in_place)
        self._state = found.state
        self._before = {key: packets for _, key, packets in found.rules}
        rules = [each.rule for each in found.rules]
        if rules != self._rules:
            self._rules, self._alike = rules, self._group(rules)
        actions, families, named = self._alike
        for what, places in actions.items():
            self._translations[what] += sum(hits[place] or 0 for place in places)
        for name, places in named.items():
            self._named[name] += sum(hits[place] or 0 for place in places)
        return Hits(
            {what: self._translations[what] for what in actions},
            {family: _known(hits, places) for family, places in families.items()},
            {name: self._named[name] for name in named},
        )

    def _hits(self, found: Sequence[Reading], *, in_place: bool) -> list[int | None]:
        """Return the hits of rules since the reading before, None where they are unknown.

        `in_place`: a counter that fell was zeroed. Otherwise its rule may have been replaced, and
        what the new one began with is unknown.
        """
        if self._before is None:  # the account begins
            return [0] * len(found)
        before = self._before
        return [
            packets - old
            if (old := before.get(key)) is not None and packets >= old
            else _since_fall(packets, zeroed=in_place and old is not None)
            for _, key, packets in found
        ]

    def _group(self, rules: Sequence[CountedRule]) -> _Alike:
        actions: dict[tuple[Family, Action], list[int]] = {}
        families: dict[Family, list[int]] = {}
        for place, rule in enumerate(rules):
            for family in rule.families:
                actions.setdefault((family, rule.action), []).append(place)
                families.setdefault(family, []).append(place)
        fitting = {
            name: [place for place, rule in enumerate(rules) if fits(rule)]
            for name, fits in self._fits.items()
        }
        return _Alike(actions, families, {name: found for name, found in fitting.items() if found})


def _known(hits: Sequence[int | None], places: Sequence[int]) -> int:
    """Return of how many the hits are known."""
    return sum(hits[place] is not None for place in places)


def _since_fall(packets: int, *, zeroed: bool) -> int | None:
    """Return the hits of a rule that is new, or whose counter fell."""
    return packets if zeroed or not packets else None
