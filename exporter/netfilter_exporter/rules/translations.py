"""What translating rules say in full: whom they are for, what they match, which of them repeat.

Reading a rule in full takes microseconds, and a host may have ten thousand: so only the first
MOST_READ of a table are. The others are for forwarded traffic, and match anything.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from netfilter_exporter.rules import duplicates, roles
from netfilter_exporter.rules.detail import NatTarget, RuleDetail
from netfilter_exporter.rules.families import Family, Hook
from netfilter_exporter.rules.graph import ChainClass, is_of_interest
from netfilter_exporter.rules.match import Field, Intervals, Match, Range, excludes
from netfilter_exporter.rules.model import Action, Table
from netfilter_exporter.rules.summaries import RuleHit

MOST_READ = 256
_TO_SOURCES = frozenset({Action.MASQUERADE, Action.SNAT})
#: Conditions that are kept of a ruleset: more of them are taken for the worst.
MOST_KEPT = 64

#: What the rules of a family at a hook match, each by its own matches; None: anything.
Scopes = dict[tuple[Family, Hook], "list[Sequence[Match]] | None"]


class SourceTarget(NamedTuple):
    """To what a rule translates sources, and of which protocols."""

    target: NatTarget
    protocols: Intervals  #: by number


#: Of a rule that matches no protocol, or one that is not read.
_ANY_PROTOCOL: Intervals = ((0, 255),)


def _protocols(detail: RuleDetail) -> Intervals:
    ranges = (m for m in detail.matches if isinstance(m, Range) and m.field is Field.PROTOCOL)
    return next((match.intervals for match in ranges), _ANY_PROTOCOL)


@dataclasses.dataclass
class TranslationFacts:
    """What the translating rules of a ruleset say; a rule counts once in each of its families."""

    #: for forwarded traffic
    forwarded: Counter[Family] = dataclasses.field(default_factory=Counter)
    #: for forwarded traffic, unless all of these are addresses of this host
    forwarded_unless_own: Counter[roles.Addresses] = dataclasses.field(default_factory=Counter)
    #: identical to an earlier one of the same chain, by family and table
    duplicates: Counter[tuple[Family, str]] = dataclasses.field(default_factory=Counter)
    scopes: Scopes = dataclasses.field(default_factory=dict)
    #: to what sources are translated, by family; None: anything
    sources: dict[Family, set[SourceTarget] | None] = dataclasses.field(default_factory=dict)

    def add(self, table: Table, hooks: Sequence[Hook], groups: Iterable[ChainClass]) -> None:
        """Add the rules of one table; `hooks` are those of its NAT base chains."""
        left = MOST_READ
        for group in groups:
            self._add_duplicates(table, group)
            for number, chain in enumerate(group.chains):
                if left <= 0:
                    self._add_unread(hooks, group, len(group.chains) - number)
                    break
                for hit, detail in zip(group.hits, _details(table, chain)):
                    if hit.rule.action is not None:
                        self._add_rule(hooks, group, hit, detail if left > 0 else None)
                        left -= 1

    def _add_unread(self, hooks: Sequence[Hook], group: ChainClass, chains: int) -> None:
        """Add the rules of so many chains, which are alike as long as none is read in full."""
        for hit in group.hits:
            if hit.rule.action is not None:
                self._add_rule(hooks, group, hit, None, chains)

    def _add_rule(
        self,
        hooks: Sequence[Hook],
        group: ChainClass,
        hit: RuleHit,
        detail: RuleDetail | None,
        times: int = 1,
    ) -> None:
        forwarded: set[Family] = set()
        conditions: dict[Family, roles.Addresses] = {}
        for number, hook in enumerate(hooks):
            families = group.reach(hit, number).families
            if not families:
                continue
            self._add_scope(families, hook, detail)
            self._add_source(families, hit, detail)
            role = _role(hook, hit, detail)
            if isinstance(role, roles.Addresses):
                conditions[role.family] = role
                families = families - {role.family}
            if role:
                forwarded |= families
        for family in forwarded:
            self.forwarded[family] += times
        for family, condition in conditions.items():
            if family not in forwarded:
                self._add_condition(family, condition)

    def _add_condition(self, family: Family, condition: roles.Addresses) -> None:
        known = self.forwarded_unless_own
        if condition in known or len(known) < MOST_KEPT:
            known[condition] += 1
        else:
            self.forwarded[family] += 1

    def _add_source(
        self, families: Collection[Family], hit: RuleHit, detail: RuleDetail | None
    ) -> None:
        if hit.rule.action not in _TO_SOURCES:
            return
        for family in families:
            found = self.sources.setdefault(family, set())
            if detail is None or found is None or len(found) >= MOST_KEPT:
                self.sources[family] = None
            else:
                found.add(SourceTarget(detail.nat or NatTarget(), _protocols(detail)))

    def _add_scope(
        self, families: Collection[Family], hook: Hook, detail: RuleDetail | None
    ) -> None:
        for family in families:
            scope = self.scopes.setdefault((family, hook), [])
            if detail is None or scope is None or len(scope) >= MOST_KEPT:
                self.scopes[family, hook] = None
            else:
                scope.append(detail.matches)

    def _add_duplicates(self, table: Table, group: ChainClass) -> None:
        if sum(hit.rule.action is not None for hit in group.hits) < 2:
            return
        hits = {id(hit.rule): hit for hit in group.hits}
        for chain in group.chains:
            for rule in duplicates.of_chain(table, chain):
                for family in group.reach_of_any(hits[id(rule)]).families:
                    self.duplicates[family, table.name] += 1


def _details(table: Table, chain: str) -> Iterator[RuleDetail]:
    """Yield the rules of interest of a chain, in the order of the hits of its class."""
    for rule, detail in zip(table.rules(chain), table.details(chain)):
        if is_of_interest(rule):
            yield detail


def _role(hook: Hook, hit: RuleHit, detail: RuleDetail | None) -> roles.Role:
    action = hit.rule.action
    if action is None or action not in roles.FORWARDED.get(hook, ()):
        return False
    return True if detail is None else roles.role(hook, action, detail)


def forwarded(
    facts: TranslationFacts, family: Family, own: Mapping[Family, Collection[int]]
) -> int:
    """Return the rules for forwarded traffic, where `own` are the addresses of the host."""
    return facts.forwarded[family] + sum(
        count
        for condition, count in facts.forwarded_unless_own.items()
        if condition.family is family
        and not all(number in own.get(family, ()) for number in condition.numbers)
    )


def overlap(one: TranslationFacts, other: TranslationFacts, family: Family) -> bool:
    """Return whether some packet may match translating rules of both rulesets at one hook."""
    return any(
        _may_overlap(one.scopes[family, hook], other.scopes[family, hook])
        for hook in Hook
        if (family, hook) in one.scopes and (family, hook) in other.scopes
    )


def _may_overlap(one: list[Sequence[Match]] | None, other: list[Sequence[Match]] | None) -> bool:
    if one is None or other is None:
        return True
    return not all(excludes(a, b) for a in one for b in other)
