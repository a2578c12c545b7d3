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


class Account:
    """The account of one ruleset; not for several threads."""

    def __init__(self) -> None:
        self._before: dict[Hashable, int] | None = None
        self._state: Hashable | None = None
        self._translations: Counter[tuple[Family, Action]] = Counter()
        self._named: dict[str, tuple[Fits, int]] = {}

    def name(self, rules: Mapping[str, Fits]) -> None:
        """Count the hits of these rules by name; those of a name that stays go on."""
        before = self._named
        self._named = {
            name: before.get(name, (fits, 0)) if before.get(name, (None,))[0] == fits else (fits, 0)
            for name, fits in rules.items()
        }

    def has_fallen(self, found: Readings) -> bool:
        """Return whether a counter is smaller than before."""
        before = self._before or {}
        return any(each.packets < before.get(each.key, 0) for each in found.rules)

    def take(self, found: Readings) -> Hits:
        """Add what was counted since the reading before."""
        rules = found.rules
        in_place = found.state is not None and found.state == self._state
        hits = [self._hits(each, in_place=in_place) for each in rules]
        self._state = found.state
        self._before = {each.key: each.packets for each in rules}
        alike: dict[tuple[frozenset[Family], Action], list[int | None]] = {}
        for each, number in zip(rules, hits):
            alike.setdefault((each.rule.families, each.rule.action), []).append(number)
        counted: Counter[Family] = Counter()
        translations: dict[tuple[Family, Action], int] = {}
        for (families, action), numbers in alike.items():
            known = [number for number in numbers if number is not None]
            for family in families:
                counted[family] += len(known)
                self._translations[family, action] += sum(known)
                translations[family, action] = self._translations[family, action]
        return Hits(translations, counted, self._add_named(rules, hits))

    def _hits(self, found: Reading, *, in_place: bool) -> int | None:
        """Return the hits of a rule since the reading before, None where they are unknown.

        `in_place`: a counter that fell was zeroed. Otherwise its rule may have been replaced, and
        what the new one began with is unknown.
        """
        if self._before is None:  # the account begins
            return 0
        before = self._before.get(found.key)
        if before is not None and found.packets >= before:
            return found.packets - before
        if before is not None and in_place:
            return found.packets
        return None if found.packets else 0

    def _add_named(self, found: Sequence[Reading], hits: Sequence[int | None]) -> dict[str, int]:
        known: dict[str, int] = {}
        for name, (fits, before) in self._named.items():
            fitting = [number for each, number in zip(found, hits) if fits(each.rule)]
            now = before + sum(number or 0 for number in fitting)
            self._named[name] = fits, now
            if fitting:
                known[name] = now
        return known
