"""The chains of a table as a graph: where packets get from its base chains, and what they meet.

A Kubernetes node has ten thousand chains of a few kinds, so what is asked of them is asked once
for all that are alike: that have the same rules of interest and are come to by the same ways.
"""

from __future__ import annotations

import array
import collections
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from netfilter_exporter.rules import duplicates, reach
from netfilter_exporter.rules.covers import NO_COVERS, ChainCovers, Covers
from netfilter_exporter.rules.earlier import Earlier
from netfilter_exporter.rules.families import BOTH, Family
from netfilter_exporter.rules.model import Rule, Table
from netfilter_exporter.rules.reach import Reach
from netfilter_exporter.rules.remembered import Memo, Remembered
from netfilter_exporter.rules.shadows import Shadow, ShadowingRule, find_shadowing_rule
from netfilter_exporter.rules.summaries import ChainSummary, Edge, RuleHit
from netfilter_exporter.rules.termination import Termination

#: For each chain the ways from each base chain to it: bit WIDTH * number of the base + ways.
Reached = dict[str, int]


class ChainClass(NamedTuple):
    """Chains with the same rules of interest, reached by the same ways."""

    hits: tuple[RuleHit, ...]
    ways: int  #: as in `Reached`
    chains: list[str]

    def reach(self, hit: RuleHit, base: int) -> Reach:
        """Return who reaches a rule of these chains, of those that come from base chain `base`."""
        return reach.reach(self.ways >> reach.WIDTH * base & reach.ALL, hit.passing)

    def reach_of_any(self, hit: RuleHit) -> Reach:
        """Return who reaches a rule of these chains."""
        return reach.reach(reach.merged(self.ways), hit.passing)


class Graph:
    """The chains of one table, looked at as they are reached."""

    def __init__(
        self,
        table: Table,
        earlier: Earlier | None = None,
        known: Remembered | None = None,
        *,
        remembers: bool = False,
    ) -> None:
        """`known` is what is remembered of the table as it was."""
        self.table = table
        self.termination = Termination(table)
        self.covers: dict[str, ChainCovers] = {}  #: of chains in which something is covered
        self.summaries: dict[str, ChainSummary] = {}
        self._of_rules: dict[bytes, ChainSummary] = {}  #: by the identity of the rules
        self._of_list: dict[int, ChainSummary] = {}  #: likewise, by that of their list
        self._covers = Covers(table, self.termination, earlier or {})
        #: By identity of their rules and the ways that these let pass: to compare rules is dear.
        self._hits: dict[tuple[tuple[int, int], ...], tuple[RuleHit, ...]] = {}
        self._memos: dict[str, Memo] | None = {} if remembers else None
        self._known = known
        self._unchanged: set[str] = set()
        if known:
            self._go_on(known)

    def _go_on(self, known: Remembered) -> None:
        """Take over what holds of all chains that are unchanged."""
        self._unchanged = known.unchanged(self.table, self._covers)
        self._hits = known.hits
        self.termination.go_on(known.termination, self._unchanged)
        self._covers.ends.go_on(known.covers.ends, self._unchanged)

    def remember(self) -> Remembered:
        """Return what was found out, when all walks have ended."""
        memos = self._memos or {}
        return Remembered(self.table, memos, self.termination, self._covers, self._hits)

    def walk(self, bases: Iterable[str]) -> Reached:
        """Return the chains that packets of `bases` come to."""
        start = 1 << (reach.FAMILY_BITS[self.table.families] | reach.LOOPBACK | reach.LIVE)
        coming = {name: start << reach.WIDTH * number for number, name in enumerate(bases)}
        reached: Reached = {}
        #: Ways that are the same are one object, of which there are few.
        one_of: dict[int, int] = {}
        while coming:
            arriving, coming = coming, {}
            for name, ways in arriving.items():
                before = reached.get(name, 0)
                new = ways & ~before
                if not new:
                    continue
                all_ = before | new
                reached[name] = one_of.setdefault(all_, all_)
                summary = self.summaries.get(name)
                if summary is None:
                    summary = self.summaries[name] = self._summarize(name)
                for target, passing in summary.edges:
                    through = reach.passed(new, passing)
                    if through:
                        coming[target] = coming.get(target, 0) | through
        return reached

    def classes(self, reached: Reached) -> list[ChainClass]:
        """Return the reached chains that have rules of interest."""
        groups: dict[tuple[int, int], ChainClass] = {}
        for name, ways in reached.items():
            hits = self.summaries[name].hits
            if hits:
                group = groups.setdefault((id(hits), ways), ChainClass(hits, ways, []))
                group.chains.append(name)
        return list(groups.values())

    def sizes(self, reached: Reached) -> dict[Family, int]:
        """Return how many rules packets of each family come to."""
        by_ways: collections.Counter[int] = collections.Counter()
        for name, ways in reached.items():
            by_ways[ways] += self.summaries[name].size
        sizes = {family: 0 for family in Family if family in self.table.families}
        for ways, size in by_ways.items():
            for family in reach.reach(reach.merged(ways), reach.EVERYTHING).families:
                sizes[family] += size
        return sizes

    def needing(self, reached: Reached) -> Iterator[tuple[str, Family, str]]:
        """Yield (chain, family, interface) for what a rule cannot do without.

        Of rules that translate, and of jumps towards them, where packets meet them.
        """
        for name, ways in reached.items():
            for rule, passing, target in self.summaries[name].needing:
                families = reach.reach(reach.merged(ways), passing).live
                if target is not None:
                    families &= self._leading.get(target, frozenset())
                for interface in rule.interfaces:
                    for family in families:
                        yield name, family, interface

    def shadows(self, base: str, chain: str, hidden: Sequence[bool]) -> Iterator[Shadow]:
        """Yield those rules of interest of `chain` that are `hidden` from packets of `base`."""
        of_interest = (
            (number, rule)
            for number, rule in enumerate(self.table.rules(chain), 1)
            if is_of_interest(rule)
        )
        for (position, rule), is_hidden in zip(of_interest, hidden):
            if is_hidden:
                here = self._shadowing_rule_of(chain, position)
                yield Shadow(
                    self.table.name,
                    chain,
                    position,
                    rule,
                    self.table.families,
                    here or find_shadowing_rule(base, chain, self._jumps, self._hider_of_jump),
                )

    def exemptions(self, reached: Reached) -> Iterator[Shadow]:
        """Yield accepts and returns in reached chains behind what they were to exempt from."""
        for chain, found in self.covers.items():
            rules = self.table.rules(chain) if chain in reached else ()
            for number, place in found.exemptions.items() if rules else ():
                rule, position = rules[number], number + 1
                families = self.table.families & rule.families
                yield Shadow(self.table.name, chain, position, rule, families, place)

    def undecided(self, reached: Reached) -> Iterator[frozenset[Family]]:
        """Yield the families that come to each translating rule that may be covered, or not."""
        for chain, found in self.covers.items():
            for number in found.undecided if chain in reached else ():
                rule = self.table.rules(chain)[number]
                yield reach.reach(reach.merged(reached[chain]), reach.ways_of(rule, live=True)).live

    def _shadowing_rule_of(self, chain: str, position: int) -> ShadowingRule | None:
        """Return the rule that takes the packets of the rule at `position` before it."""
        covered = self.covers.get(chain, NO_COVERS).hidden.get(position - 1)
        if covered:
            return covered
        found = self._shadowing_rule_in(chain)
        return found if found and found.position < position else None

    def _hider_of_jump(self, chain: str, target: str) -> ShadowingRule | None:
        """Return what takes the packets of a jump from `chain` to `target` before it."""
        for position, rule in enumerate(self.table.rules(chain), 1):
            if target in self.table.leads(rule):
                found = self._shadowing_rule_of(chain, position)
                if found:
                    return found
        return None

    def _shadowing_rule_in(self, chain: str) -> ShadowingRule | None:
        """Return the first rule of `chain` that no packet gets beyond."""
        for number, rule in enumerate(self.table.rules(chain), 1):
            if self.termination.hides(rule):
                return ShadowingRule(chain, number, rule)
        return None

    def _summarize(self, name: str) -> ChainSummary:
        """Return what there is in a chain, from memory if that is the same."""
        if self._memos is None:
            return self._look_at(name)
        begin = self._covers.progress()
        memo = self._known.memos[name] if self._known and name in self._unchanged else None
        if self._known and memo and memo.begin == begin:
            self._covers.go_on(self._known.covers, begin, memo.end)
            if memo.covers:
                self.covers[name] = memo.covers
        else:
            summary = self._look_at(name)
            memo = Memo(summary, self.covers.get(name), begin, self._covers.progress())
        self._memos[name] = memo
        return memo.summary

    def _look_at(self, name: str) -> ChainSummary:
        """Look at a chain, once at all that have the same rules."""
        rules = self.table.rules(name)
        summary = self._of_list.get(id(rules))
        if summary is not None:
            return summary
        same, in_question = b"", False
        if any(
            map(is_of_interest, rules)
        ):  # one of jumps alone is like no other: they lead elsewhere
            same = array.array("Q", map(id, rules)).tobytes()  # a third of a tuple's memory
            summary = self._of_rules.get(same)
            if summary is not None:
                return summary
            in_question = duplicates.is_in_question(rules, self.termination)
        covers = self._covers.of_chain(name)
        if covers.hidden or covers.exemptions or covers.undecided:
            self.covers[name] = covers
        if in_question or covers.compared:  # it depends on their addresses
            harmless = (
                duplicates.harmless(self.table, name, self.termination) if in_question else ()
            )
            return self._summarize_rules(rules, harmless, covers.hidden)
        summary = self._summarize_rules(rules)
        if same:
            self._of_rules[same] = self._of_list[id(rules)] = summary
        return summary

    def _summarize_rules(
        self,
        rules: Sequence[Rule],
        harmless: Collection[int] = (),
        covered: Collection[int] = (),
    ) -> ChainSummary:
        """Summarize rules; the same translation takes the packets of the `harmless` before them.

        An earlier rule takes those of the `covered`.
        """
        hits: list[RuleHit] = []
        edges: list[Edge] = []
        needing: list[tuple[Rule, int, str | None]] = []  # a tuple in the end: of none is no object
        live = True
        for number, rule in enumerate(rules):
            reached = (live or number in harmless) and number not in covered
            passing = reach.ways_of(rule, live=reached)
            if rule.targets or rule.maps:
                before = len(edges)
                for target in rule.targets:
                    edges.append((target, passing))  # noqa: PERF401 - most have one: half the time
                if rule.maps:
                    edges += self._edges_of_maps(rule, passing)
                if rule.interfaces:
                    needing += [(rule, passes, target) for target, passes in edges[before:]]
            if is_of_interest(rule):
                hits.append(RuleHit(rule, passing))
                if rule.interfaces and rule.action:
                    needing.append((rule, passing, None))
            if live and not rule.conditional and self.termination.hides(rule):
                live = False
        same = tuple([(id(hit.rule), hit.passing) for hit in hits])
        return ChainSummary(
            len(rules), self._hits.setdefault(same, tuple(hits)), tuple(edges), tuple(needing)
        )

    def _edges_of_maps(self, rule: Rule, passing: int) -> list[Edge]:
        """Return the jumps of a rule's verdict maps, whose keys may let one family pass."""
        found: list[Edge] = []
        for name in rule.maps:
            families = self.table.map_families.get(name, {})
            for target in self.table.maps.get(name, ()):
                kept = reach.FAMILY_BITS[families.get(target, BOTH)] | reach.LOOPBACK | reach.LIVE
                found.append((target, passing & kept))
        return found

    @functools.cached_property
    def _leading(self) -> Mapping[str, frozenset[Family]]:
        """The families that a rule in a chain, or behind it, translates."""
        comes_from: dict[str, list[Edge]] = collections.defaultdict(list)
        leading: dict[str, int] = {}
        for name, summary in self.summaries.items():
            for target, passing in summary.edges:
                comes_from[target].append((name, passing))
            for hit in summary.hits:
                if hit.rule.action:
                    leading[name] = leading.get(name, 0) | hit.passing & reach.BOTH_BITS
        todo = list(leading)
        while todo:
            name = todo.pop()
            for caller, passing in comes_from[name]:
                new = leading[name] & passing & ~leading.get(caller, 0)
                if new:
                    leading[caller] = leading.get(caller, 0) | new
                    todo.append(caller)
        return {name: reach.FAMILIES[bits] for name, bits in leading.items()}

    @functools.cached_property
    def _jumps(self) -> dict[str, list[tuple[str, bool]]]:
        return {
            name: [(target, bool(passing & reach.LIVE)) for target, passing in summary.edges]
            for name, summary in self.summaries.items()
        }


def is_of_interest(rule: Rule) -> bool:
    """Return whether a rule translates, or decides how packets are tracked."""
    return rule.action is not None or rule.notrack or rule.zone or bool(rule.helper)
