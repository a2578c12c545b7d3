"""Translating rules that have a counter: which they are, and where."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.graph import ChainClass, is_of_interest
from netfilter_exporter.rules.model import Action, Table

#: Rules in chains that hold such ones, of which counters are read, with so many more for each
#: chain: one chain of 128 rules takes 0.6 ms of CPU on 6.18, which is 0.2 ms of 15 s if it is read
#: every 45 s. Of a ruleset with more, none are: part of the hits looks like a loss.
MOST_RULES, OF_CHAIN = 136, 8


class ChainPlace(NamedTuple):
    """A chain: the families and the name of its table, and its own name."""

    families: frozenset[Family]
    table: str
    chain: str


class CountedRule(NamedTuple):
    """A rule, by its position in its chain, from 0."""

    place: ChainPlace
    position: int
    families: frozenset[Family]  #: whose packets it can translate
    action: Action
    interfaces: tuple[str, ...]


@dataclasses.dataclass
class CountedRules:
    """The rules with a counter in one ruleset; none where there are too many to read."""

    rules: list[CountedRule] = dataclasses.field(default_factory=list)
    chains: set[ChainPlace] = dataclasses.field(default_factory=set)
    size: int = 0  #: of the chains, in rules
    uncounted: int = 0  #: translating rules without a counter

    @property
    def too_many(self) -> bool:
        return self.size + OF_CHAIN * len(self.chains) > MOST_RULES

    def add(self, table: Table, groups: Iterable[ChainClass]) -> None:
        """Add those of one table."""
        for group in groups:
            translating = [hit.rule.counted for hit in group.hits if hit.rule.action]
            self.uncounted += translating.count(False) * len(group.chains)
            if not any(translating):
                continue
            for chain in group.chains:
                if self.too_many:
                    break
                self._add_chain(table, group, chain)

    def _add_chain(self, table: Table, group: ChainClass, chain: str) -> None:
        rules = table.rules(chain)
        place = ChainPlace(table.families, table.name, chain)
        self.size += len(rules)
        self.chains.add(place)
        if self.too_many:
            self.rules.clear()
            return
        hits = iter(group.hits)
        for position, rule in enumerate(rules):
            if not is_of_interest(rule):
                continue
            families = group.reach_of_any(next(hits)).families
            if rule.counted and rule.action is not None and families:
                found = CountedRule(place, position, families, rule.action, rule.interfaces)
                self.rules.append(found)
