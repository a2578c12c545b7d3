"""The chains of a table as a graph: where packets get from its base chains, and what they meet.

A Kubernetes node has ten thousand chains of a few kinds, so what is asked of them is asked once
for all that are alike: that have the same rules of interest and are come to by the same ways.
"""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from netfilter_exporter.kernel.endings import Endings
from netfilter_exporter.kernel.families import BOTH, IPV4, IPV6, Family
from netfilter_exporter.kernel.ruleset import Rule, Table
from netfilter_exporter.kernel.shadows import Hider, Shadow, find_hider

# The ways in which packets may come to a chain: a set of them is handed on at each jump, and what
# the jump does not let pass is taken out.
_IPV4, _IPV6, _LOOPBACK, _LIVE = 1, 2, 4, 8
_FAMILY_BITS = {IPV4: _IPV4, IPV6: _IPV6, BOTH: _IPV4 | _IPV6, frozenset(): 0}
_FAMILIES = {bits: families for families, bits in _FAMILY_BITS.items()}
_EVERYTHING = _IPV4 | _IPV6 | _LOOPBACK | _LIVE
_WIDTH = 16  #: ways there can be
_ALL = (1 << _WIDTH) - 1

#: For each chain the ways from each base chain to it: bit _WIDTH * number of the base + ways.
Reached = dict[str, int]


class Met(NamedTuple):
    """Which packets that come to a chain meet a rule of it."""

    families: frozenset[Family]  #: that would meet it if nothing were hidden
    live: frozenset[Family]  #: that do
    loopback: frozenset[Family]  #: of those, whose loopback traffic may meet it


class Hit(NamedTuple):
    """A rule of interest: one that translates, or that keeps packets from being tracked."""

    rule: Rule
    passing: int  #: the ways that its matches let pass; without _LIVE where it is hidden


Edge = tuple[str, int]  #: the chain that a jump leads to, and the ways that it lets pass


class Looked(NamedTuple):
    """What there is in a chain."""

    size: int
    hits: tuple[Hit, ...]
    edges: list[Edge]
    #: rules that need an interface: one that translates, or (with the target) a jump, and as `Edge`
    needing: list[tuple[Rule, int, str | None]]


class Alike(NamedTuple):
    """Chains with the same rules of interest, reached by the same ways."""

    hits: tuple[Hit, ...]
    ways: int  #: as in `Reached`
    chains: list[str]

    def met(self, hit: Hit, base: int) -> Met:
        """Return who meets a rule of these chains, of those that come from base chain `base`."""
        return _meet(self.ways >> _WIDTH * base & _ALL, hit.passing)

    def met_by_any(self, hit: Hit) -> Met:
        """Return who meets a rule of these chains."""
        return _meet(_merged(self.ways), hit.passing)


class Graph:
    """The chains of one table, looked at as they are reached."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.endings = Endings(table)
        self.looked: dict[str, Looked] = {}
        self._of_rules: dict[tuple[int, ...], Looked] = {}  #: by the identity of the rules

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
                if name not in self.looked:
                    self.looked[name] = self._look(name)
                for target, passing in self.looked[name].edges:
                    passed = _pass(new, passing)
                    if passed:
                        coming[target] = coming.get(target, 0) | passed
        return reached

    def alike(self, reached: Reached) -> list[Alike]:
        """Return the reached chains that have rules of interest."""
        groups: dict[tuple[tuple[Hit, ...], int], list[str]] = collections.defaultdict(list)
        for name, ways in reached.items():
            hits = self.looked[name].hits
            if hits:
                groups[hits, ways].append(name)
        return [Alike(hits, ways, chains) for (hits, ways), chains in groups.items()]

    def sizes(self, reached: Reached) -> dict[Family, int]:
        """Return how many rules packets of each family come to."""
        by_ways: collections.Counter[int] = collections.Counter()
        for name, ways in reached.items():
            by_ways[ways] += self.looked[name].size
        sizes = {family: 0 for family in Family if family in self.table.families}
        for ways, size in by_ways.items():
            for family in _meet(_merged(ways), _EVERYTHING).families:
                sizes[family] += size
        return sizes

    def needing(self, reached: Reached) -> Iterator[tuple[str, Family, str]]:
        """Yield (chain, family, interface) for what a rule cannot do without.

        Of rules that translate, and of jumps towards them, where packets meet them.
        """
        for name, ways in reached.items():
            for rule, passing, target in self.looked[name].needing:
                if target is None or target in self._leading:
                    for interface in rule.interfaces:
                        for family in _meet(_merged(ways), passing).live:
                            yield name, family, interface

    def shadows(self, base: str, chain: str, hidden: Sequence[bool]) -> Iterator[Shadow]:
        """Yield those rules of interest of `chain` that are `hidden` from packets of `base`."""
        of_interest = (
            (number, rule)
            for number, rule in enumerate(self.table.rules(chain), 1)
            if _is_of_interest(rule)
        )
        hider = self._hider_in(chain)
        for (position, rule), is_hidden in zip(of_interest, hidden):
            if is_hidden:
                here = hider if hider and hider.position < position else None
                yield Shadow(
                    self.table.name,
                    chain,
                    position,
                    rule,
                    here.position if here else None,
                    self.table.families,
                    here or find_hider(base, chain, self._jumps, self._hider_in),
                )

    def _hider_in(self, chain: str) -> Hider | None:
        """Return the first rule of `chain` that no packet gets beyond."""
        for number, rule in enumerate(self.table.rules(chain), 1):
            if self.endings.hides(rule):
                return Hider(chain, number, rule)
        return None

    def _look(self, name: str) -> Looked:
        """Look at a chain, once at all that have the same rules."""
        rules = self.table.rules(name)
        same = tuple(map(id, rules))
        looked = self._of_rules.get(same)
        if looked is None:
            looked = self._of_rules[same] = self._look_at(rules)
        return looked

    def _look_at(self, rules: Sequence[Rule]) -> Looked:
        hits: list[Hit] = []
        edges: list[Edge] = []
        needing: list[tuple[Rule, int, str | None]] = []
        live = True
        for rule in rules:
            passing = _ways(rule, live=live)
            targets = self._targets(rule) if rule.maps else rule.targets
            if targets:
                edges += [(target, passing) for target in targets]
            if _is_of_interest(rule):
                hits.append(Hit(rule, passing))
            if rule.interfaces:
                needing += [(rule, passing, target) for target in targets]
                needing += [(rule, passing, None)] if rule.action else ()
            if live and self.endings.hides(rule):
                live = False
        return Looked(len(rules), tuple(hits), edges, needing)

    def _targets(self, rule: Rule) -> tuple[str, ...]:
        return rule.targets + tuple(t for name in rule.maps for t in self.table.maps.get(name, ()))

    @functools.cached_property
    def _leading(self) -> set[str]:
        """The looked-at chains in which, or behind which, there is a translating rule."""
        comes_from: dict[str, list[str]] = collections.defaultdict(list)
        for name, looked in self.looked.items():
            for target, _ in looked.edges:
                comes_from[target].append(name)
        todo = [n for n, found in self.looked.items() if any(h.rule.action for h in found.hits)]
        leading: set[str] = set()
        while todo:
            name = todo.pop()
            if name not in leading:
                leading.add(name)
                todo.extend(comes_from[name])
        return leading

    @functools.cached_property
    def _jumps(self) -> dict[str, list[tuple[str, bool]]]:
        return {
            name: [(target, bool(passing & _LIVE)) for target, passing in looked.edges]
            for name, looked in self.looked.items()
        }


def _is_of_interest(rule: Rule) -> bool:
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
def _meet(arriving: int, passing: int) -> Met:
    """Return who meets a rule, of the ways that arrive from one base chain."""
    met = live = loopback = 0
    for ways in range(_WIDTH):
        if arriving >> ways & 1:
            families = ways & passing & (_IPV4 | _IPV6)
            met |= families
            if ways & passing & _LIVE:
                live |= families
                loopback |= families if ways & passing & _LOOPBACK else 0
    return Met(_FAMILIES[met], _FAMILIES[live], _FAMILIES[loopback])
