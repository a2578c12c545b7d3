"""The chains of a table as a graph: where packets get from its base chains, and what they meet.

A Kubernetes node has ten thousand chains of a few kinds, so what is asked of them is asked once
for all that are alike: that have the same rules of interest and are come to by the same ways.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from netfilter_exporter.rules import duplicates
from netfilter_exporter.rules.families import BOTH, IPV4, IPV6, Family
from netfilter_exporter.rules.model import Rule, Table
from netfilter_exporter.rules.shadows import Shadow, ShadowingRule, find_shadowing_rule
from netfilter_exporter.rules.termination import Termination

# The ways in which packets may come to a chain: a set of them is handed on at each jump, and what
# the jump does not let pass is taken out.
_IPV4, _IPV6, _LOOPBACK, _LIVE = 1, 2, 4, 8
_FAMILY_BITS = {IPV4: _IPV4, IPV6: _IPV6, BOTH: _IPV4 | _IPV6, frozenset(): 0}
_FAMILIES = {bits: families for families, bits in _FAMILY_BITS.items()}
_BOTH = _IPV4 | _IPV6
_EVERYTHING = _BOTH | _LOOPBACK | _LIVE
_WIDTH = 16  #: ways there can be
_ALL = (1 << _WIDTH) - 1

#: For each chain the ways from each base chain to it: bit _WIDTH * number of the base + ways.
Reached = dict[str, int]


class Reach(NamedTuple):
    """Which packets that come to a chain meet a rule of it."""

    families: frozenset[Family]  #: that would meet it if nothing were hidden
    live: frozenset[Family]  #: that do
    loopback: frozenset[Family]  #: of those, whose loopback traffic may meet it


class RuleHit(NamedTuple):
    """A rule of interest: one that translates, or that keeps packets from being tracked."""

    rule: Rule
    passing: int  #: the ways that its matches let pass; without _LIVE where it is hidden


Edge = tuple[str, int]  #: the chain that a jump leads to, and the ways that it lets pass


class ChainSummary(NamedTuple):
    """What there is in a chain."""

    size: int
    hits: tuple[RuleHit, ...]
    edges: list[Edge]
    #: rules that need an interface: one that translates, or (with the target) a jump, and as `Edge`
    needing: list[tuple[Rule, int, str | None]]


class ChainClass(NamedTuple):
    """Chains with the same rules of interest, reached by the same ways."""

    hits: tuple[RuleHit, ...]
    ways: int  #: as in `Reached`
    chains: list[str]

    def reach(self, hit: RuleHit, base: int) -> Reach:
        """Return who meets a rule of these chains, of those that come from base chain `base`."""
        return _reach(self.ways >> _WIDTH * base & _ALL, hit.passing)

    def reach_of_any(self, hit: RuleHit) -> Reach:
        """Return who meets a rule of these chains."""
        return _reach(_merged(self.ways), hit.passing)


class Graph:
    """The chains of one table, looked at as they are reached."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.termination = Termination(table)
        self.summaries: dict[str, ChainSummary] = {}
        self._of_rules: dict[tuple[int, ...], ChainSummary] = {}  #: by the identity of the rules
        #: By identity of their rules and the ways that these let pass: to compare rules is dear.
        self._hits: dict[tuple[tuple[int, int], ...], tuple[RuleHit, ...]] = {}

    def walk(self, bases: Iterable[str]) -> Reached:
        """Return the chains that packets of `bases` come to."""
        start = 1 << (_FAMILY_BITS[self.table.families] | _LOOPBACK | _LIVE)
        coming = {name: start << _WIDTH * number for number, name in enumerate(bases)}
        reached: Reached = {}
        while coming:
            arriving, coming = coming, {}
            for name, ways in arriving.items():
                before = reached.get(name, 0)
                new = ways & ~before
                if not new:
                    continue
                reached[name] = before | new
                if name not in self.summaries:
                    self.summaries[name] = self._summarize(name)
                for target, passing in self.summaries[name].edges:
                    passed = _pass(new, passing)
                    if passed:
                        coming[target] = coming.get(target, 0) | passed
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
            for family in _reach(_merged(ways), _EVERYTHING).families:
                sizes[family] += size
        return sizes

    def needing(self, reached: Reached) -> Iterator[tuple[str, Family, str]]:
        """Yield (chain, family, interface) for what a rule cannot do without.

        Of rules that translate, and of jumps towards them, where packets meet them.
        """
        for name, ways in reached.items():
            for rule, passing, target in self.summaries[name].needing:
                families = _reach(_merged(ways), passing).live
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
        shadowing_rule = self._shadowing_rule_in(chain)
        for (position, rule), is_hidden in zip(of_interest, hidden):
            if is_hidden:
                here = (
                    shadowing_rule
                    if shadowing_rule and shadowing_rule.position < position
                    else None
                )
                yield Shadow(
                    self.table.name,
                    chain,
                    position,
                    rule,
                    here.position if here else None,
                    self.table.families,
                    here or find_shadowing_rule(base, chain, self._jumps, self._shadowing_rule_in),
                )

    def _shadowing_rule_in(self, chain: str) -> ShadowingRule | None:
        """Return the first rule of `chain` that no packet gets beyond."""
        for number, rule in enumerate(self.table.rules(chain), 1):
            if self.termination.hides(rule):
                return ShadowingRule(chain, number, rule)
        return None

    def _summarize(self, name: str) -> ChainSummary:
        """Look at a chain, once at all that have the same rules."""
        rules = self.table.rules(name)
        same = tuple(map(id, rules))
        summary = self._of_rules.get(same)
        if summary is not None:
            return summary
        if duplicates.is_in_question(rules, self.termination):  # it depends on their addresses
            harmless = duplicates.harmless(self.table, name, self.termination)
            return self._summarize_rules(rules, harmless)
        summary = self._of_rules[same] = self._summarize_rules(rules)
        return summary

    def _summarize_rules(
        self, rules: Sequence[Rule], harmless: Collection[int] = ()
    ) -> ChainSummary:
        """Summarize rules; the same translation takes the packets of the `harmless` before them."""
        hits: list[RuleHit] = []
        edges: list[Edge] = []
        needing: list[tuple[Rule, int, str | None]] = []
        live = True
        for number, rule in enumerate(rules):
            passing = _ways(rule, live=live or number in harmless)
            leads = [(target, passing) for target in rule.targets]
            if rule.maps:
                leads += self._edges_of_maps(rule, passing)
            edges += leads
            if is_of_interest(rule):
                hits.append(RuleHit(rule, passing))
            if rule.interfaces:
                needing += [(rule, passes, target) for target, passes in leads]
                needing += [(rule, passing, None)] if rule.action else ()
            if live and self.termination.hides(rule):
                live = False
        same = tuple((id(hit.rule), hit.passing) for hit in hits)
        return ChainSummary(len(rules), self._hits.setdefault(same, tuple(hits)), edges, needing)

    def _edges_of_maps(self, rule: Rule, passing: int) -> list[Edge]:
        """Return the jumps of a rule's verdict maps, whose keys may let one family pass."""
        found: list[Edge] = []
        for name in rule.maps:
            families = self.table.map_families.get(name, {})
            for target in self.table.maps.get(name, ()):
                kept = _FAMILY_BITS[families.get(target, BOTH)] | _LOOPBACK | _LIVE
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
                    leading[name] = leading.get(name, 0) | hit.passing & _BOTH
        todo = list(leading)
        while todo:
            name = todo.pop()
            for caller, passing in comes_from[name]:
                new = leading[name] & passing & ~leading.get(caller, 0)
                if new:
                    leading[caller] = leading.get(caller, 0) | new
                    todo.append(caller)
        return {name: _FAMILIES[bits] for name, bits in leading.items()}

    @functools.cached_property
    def _jumps(self) -> dict[str, list[tuple[str, bool]]]:
        return {
            name: [(target, bool(passing & _LIVE)) for target, passing in summary.edges]
            for name, summary in self.summaries.items()
        }


def is_of_interest(rule: Rule) -> bool:
    """Tell whether a rule translates, or keeps packets from being tracked."""
    return rule.action is not None or rule.notrack or rule.zone


def _ways(rule: Rule, *, live: bool) -> int:
    """Return the ways that the matches of a rule let pass."""
    return (
        _FAMILY_BITS[rule.families] | (_LOOPBACK if rule.loopback else 0) | (_LIVE if live else 0)
    )


@functools.lru_cache(maxsize=1024)
def _pass(arriving: int, passing: int) -> int:
    """Return the ways behind a jump, of those that arrive at it."""
    passed = 0
    for bit in range(arriving.bit_length()):
        ways = bit & passing & (_WIDTH - 1)
        if arriving >> bit & 1 and ways & (_IPV4 | _IPV6):
            passed |= 1 << (bit - bit % _WIDTH + ways)
    return passed


@functools.lru_cache(maxsize=1024)
def _merged(ways: int) -> int:
    """Return the ways from any base chain, as if there were one."""
    merged = 0
    while ways:
        merged |= ways & _ALL
        ways >>= _WIDTH
    return merged


@functools.lru_cache(maxsize=1024)
def _reach(arriving: int, passing: int) -> Reach:
    """Return who meets a rule, of the ways that arrive from one base chain."""
    met = live = loopback = 0
    for ways in range(_WIDTH):
        if arriving >> ways & 1:
            families = ways & passing & (_IPV4 | _IPV6)
            met |= families
            if ways & passing & _LIVE:
                live |= families
                loopback |= families if ways & passing & _LOOPBACK else 0
    return Reach(_FAMILIES[met], _FAMILIES[live], _FAMILIES[loopback])
