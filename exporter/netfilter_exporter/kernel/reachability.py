"""Which rules of a ruleset can translate, and which are there in vain.

Pure functions on the model of `ruleset`: a graph of chains, entered at the base chains.
Deliberately conservative: only a rule without any match and with a final verdict hides what
follows it, and only in its own chain.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netfilter_exporter.kernel.families import BOTH, IPV4, IPV6, Family, Hook
from netfilter_exporter.kernel.ruleset import Action, Chain, Rule, Table
from netfilter_exporter.kernel.shadows import SHADOW_LIMIT, Shadow, find_hider, hider_in

#: NF_IP_PRI_CONNTRACK: a chain behind it can no longer keep a packet from being tracked.
PRIORITY_CONNTRACK = -200

#: What translates forwarded traffic, by hook: redirect is for this host, input and output too.
FORWARDED = {
    Hook.POSTROUTING: frozenset({Action.SNAT, Action.MASQUERADE, Action.NETMAP}),
    Hook.PREROUTING: frozenset({Action.DNAT, Action.NETMAP}),
}


class BaseChain(NamedTuple):
    """The labels of a NAT base chain."""

    family: Family
    table: str
    chain: str
    hook: Hook


class Translation(NamedTuple):
    """What can be asked of a translating rule; equal ones are counted."""

    families: frozenset[Family]
    action: Action
    table: str
    chain: str
    interfaces: tuple[str, ...]
    extension: bool


@dataclasses.dataclass
class RulesetFacts:
    """What a ruleset says about NAT; a rule that both families meet counts once in each."""

    chain_rules: Counter[BaseChain] = dataclasses.field(default_factory=Counter)
    table_rules: Counter[tuple[Family, str]] = dataclasses.field(default_factory=Counter)
    translations: Counter[Translation] = dataclasses.field(default_factory=Counter)
    rules: Counter[tuple[Family, Action]] = dataclasses.field(default_factory=Counter)
    forwarded: Counter[Family] = dataclasses.field(default_factory=Counter)
    unreachable: Counter[BaseChain] = dataclasses.field(default_factory=Counter)
    dormant: Counter[tuple[Family, str]] = dataclasses.field(default_factory=Counter)
    #: families and names of the tables that those rules are in
    dormant_tables: set[tuple[frozenset[Family], str]] = dataclasses.field(default_factory=set)
    notrack: Counter[Family] = dataclasses.field(default_factory=Counter)
    #: family, chain and name of every interface that a translating rule needs
    interfaces: set[tuple[Family, str, str]] = dataclasses.field(default_factory=set)
    #: families of which a notrack or zone rule may touch loopback
    loopback_untracked: set[Family] = dataclasses.field(default_factory=set)
    #: families of which a forward base chain has the policy drop
    forward_drops: set[Family] = dataclasses.field(default_factory=set)
    shadows: list[Shadow] = dataclasses.field(default_factory=list)


class Hit(NamedTuple):
    """A rule of interest in its chain; `hidden_by` is the position of the rule that hides it."""

    chain: str
    position: int
    rule: Rule
    hidden_by: int | None


class Visit(NamedTuple):
    """A rule of interest as the packets of one base chain meet it."""

    base: str
    hook: Hook
    hit: Hit
    families: frozenset[Family]  #: that would meet it if nothing were hidden
    live: frozenset[Family]  #: that do
    loopback: frozenset[Family]  #: of those, whose loopback traffic may meet it


# The ways in which packets may come to a chain: a set of them is handed on at each jump, and what
# the jump does not let pass is taken out. Bits, because a large ruleset has ten thousand chains.
_IPV4, _IPV6, _LOOPBACK, _LIVE = 1, 2, 4, 8
_FAMILY_BITS = {IPV4: _IPV4, IPV6: _IPV6, BOTH: _IPV4 | _IPV6, frozenset(): 0}
_FAMILIES = {bits: families for families, bits in _FAMILY_BITS.items()}
_ORDERED = {families: [f for f in Family if f in families] for families in _FAMILY_BITS}

Reached = dict[str, int]  #: chains, each with the set of ways (bit 1 << ways) that lead to it


@functools.cache
def _members(all_ways: int) -> tuple[int, ...]:
    return tuple(ways for ways in range(16) if all_ways >> ways & 1)


class Graph:
    """The chains of one table, looked at as they are reached."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.hits: dict[str, list[Hit]] = {}
        #: (target, ways that the jump lets pass, rule), by chain
        self.edges: dict[str, list[tuple[str, int, Rule]]] = {}

    def _look(self, name: str) -> None:
        hits: list[Hit] = []
        edges: list[tuple[str, int, Rule]] = []
        hidden_by = None
        chain = self.table.chains.get(name)
        for position, rule in enumerate(chain.rules if chain else (), 1):
            if rule.targets or rule.maps:
                ways = _ways(rule, live=hidden_by is None)
                edges.extend([(target, ways, rule) for target in self._targets(rule)])
            if rule.action or rule.notrack or rule.zone:
                hits.append(Hit(name, position, rule, hidden_by))
            if not rule.conditional and hidden_by is None and rule.hides:
                hidden_by = position
        self.hits[name] = hits
        self.edges[name] = edges

    def _targets(self, rule: Rule) -> tuple[str, ...]:
        if not rule.maps:
            return rule.targets
        return rule.targets + tuple(t for name in rule.maps for t in self.table.maps.get(name, ()))

    def walk(self, base: str) -> Reached:
        """Return the chains that packets of a base chain come to, with the ways they come."""
        reached: Reached = {}
        todo = [(base, _FAMILY_BITS[self.table.families] | _LOOPBACK | _LIVE)]
        while todo:
            name, ways = todo.pop()
            before = reached.get(name, 0)
            if before >> ways & 1:
                continue
            reached[name] = before | 1 << ways
            if name not in self.edges:
                self._look(name)
            for target, passing, _ in self.edges[name]:
                if ways & passing & (_IPV4 | _IPV6):
                    todo.append((target, ways & passing))
        return reached

    def visits(self, base: str, reached: Reached) -> Iterator[Visit]:
        """Yield each rule of interest in the chains that `base` leads to."""
        hook = self.table.chains[base].hook or Hook.PREROUTING
        for name, all_ways in reached.items():
            members = _members(all_ways)
            for hit in self.hits[name]:
                met = live = loopback = 0
                passing = _ways(hit.rule, live=hit.hidden_by is None)
                for ways in members:
                    families = ways & passing & (_IPV4 | _IPV6)
                    met |= families
                    if ways & passing & _LIVE:
                        live |= families
                        loopback |= families if ways & passing & _LOOPBACK else 0
                yield Visit(base, hook, hit, _FAMILIES[met], _FAMILIES[live], _FAMILIES[loopback])

    def shadow(self, visit: Visit) -> Shadow:
        """Return what a person needs to know of a rule of interest that is hidden."""
        hit = visit.hit
        if hit.hidden_by is not None:
            hider = hider_in(self.table, hit.chain)
        else:
            jumps = {
                name: [(target, bool(passing & _LIVE)) for target, passing, _ in edges]
                for name, edges in self.edges.items()
            }
            hider = find_hider(self.table, visit.base, hit.chain, jumps)
        return Shadow(self.table.name, *hit, self.table.families, hider)

    def size(self, name: str) -> int:
        chain = self.table.chains.get(name)
        return len(chain.rules) if chain else 0

    @functools.cached_property
    def leading(self) -> set[str]:
        """The looked-at chains in which, or behind which, there is a translating rule."""
        comes_from: dict[str, list[str]] = collections.defaultdict(list)
        for name, edges in self.edges.items():
            for target, _, _ in edges:
                comes_from[target].append(name)
        todo = [name for name, hits in self.hits.items() if any(hit.rule.action for hit in hits)]
        found: set[str] = set()
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo.extend(comes_from[name])
        return found


def _ways(rule: Rule, *, live: bool) -> int:
    """Return the ways that the matches of a rule let pass."""
    return (
        _FAMILY_BITS[rule.families] | (_LOOPBACK if rule.loopback else 0) | (_LIVE if live else 0)
    )


def analyse(tables: Iterable[Table]) -> RulesetFacts:
    """Return what the tables of one ruleset, all of one backend, say together."""
    facts = RulesetFacts()
    for table in tables:
        graph = Graph(table)
        bases = {name: chain for name, chain in table.chains.items() if chain.hook is not None}
        walks = {name: graph.walk(name) for name, base in bases.items() if base.type == "nat"}
        visits = [visit for name in walks for visit in graph.visits(name, walks[name])]
        _add_sizes(facts, graph, walks)
        if table.dormant:
            _add_dormant(facts, table, visits)
            continue
        _add_translations(facts, table, visits)
        _add_unreachable(facts, graph, visits)
        _add_interfaces(facts, graph, walks)
        _add_untracked(facts, graph, bases)
        if any(base.hook is Hook.FORWARD and base.drops for base in bases.values()):
            facts.forward_drops |= table.families
    return facts


def _rules(visits: Iterable[Visit]) -> Iterator[tuple[str, Rule, Action, frozenset[Family]]]:
    """Yield each translating rule, with its chain, once: however many base chains lead to it."""
    met: dict[tuple[str, int], tuple[str, Rule, Action, frozenset[Family]]] = {}
    for visit in visits:
        chain, position, rule, _ = visit.hit
        if rule.action:
            known = met.get((chain, position))
            families = visit.families | known[3] if known else visit.families
            met[chain, position] = chain, rule, rule.action, families
    yield from met.values()


def _add_sizes(facts: RulesetFacts, graph: Graph, walks: dict[str, Reached]) -> None:
    table = graph.table
    for name in walks:
        base = table.chains[name]
        for family in _ORDERED[table.families]:
            label = BaseChain(family, table.name, name, base.hook or Hook.PREROUTING)
            facts.chain_rules[label] += len(base.rules)
            if not table.dormant:
                facts.unreachable[label] += 0
    families: dict[str, int] = {}
    for reached in walks.values():
        for name, all_ways in reached.items():
            for ways in _members(all_ways):
                families[name] = families.get(name, 0) | ways & (_IPV4 | _IPV6)
    sizes: Counter[int] = Counter()
    for name, bits in families.items():
        sizes[bits] += graph.size(name)
    for family in _ORDERED[table.families] if walks else ():
        bit = _FAMILY_BITS[frozenset({family})]
        facts.table_rules[family, table.name] += sum(n for bits, n in sizes.items() if bits & bit)


def _add_dormant(facts: RulesetFacts, table: Table, visits: list[Visit]) -> None:
    for *_, families in _rules(visits):
        for family in _ORDERED[families]:
            facts.dormant[family, table.name] += 1
            facts.dormant_tables.add((table.families, table.name))


def _add_translations(facts: RulesetFacts, table: Table, visits: list[Visit]) -> None:
    found = Counter(
        Translation(families, action, table.name, chain, rule.interfaces, rule.extension)
        for chain, rule, action, families in _rules(visits)
    )
    facts.translations.update(found)
    for (families, action, *_), count in found.items():
        for family in _ORDERED[families]:
            facts.rules[family, action] += count
    forwarded = [v for v in visits if v.hit.rule.action in FORWARDED.get(v.hook, ())]
    for families, count in Counter(families for *_, families in _rules(forwarded)).items():
        for family in _ORDERED[families]:
            facts.forwarded[family] += count


def _add_unreachable(facts: RulesetFacts, graph: Graph, visits: list[Visit]) -> None:
    table = graph.table
    for visit in visits:
        hidden = visit.families - visit.live
        if not hidden or visit.hit.rule.action is None:
            continue
        for family in _ORDERED[hidden]:
            facts.unreachable[BaseChain(family, table.name, visit.base, visit.hook)] += 1
        if len(facts.shadows) < SHADOW_LIMIT:
            shadow = graph.shadow(visit)
            if shadow not in facts.shadows:
                facts.shadows.append(shadow)


def _add_interfaces(facts: RulesetFacts, graph: Graph, walks: dict[str, Reached]) -> None:
    """Add the interfaces that a translating rule, or a jump towards one, cannot do without."""
    naming: dict[str, list[tuple[int, Rule]]] = {}
    for name in {name for reached in walks.values() for name in reached}:
        rules = [(p, r) for t, p, r in graph.edges[name] if r.interfaces and t in graph.leading]
        rules += [
            (_ways(hit.rule, live=hit.hidden_by is None), hit.rule)
            for hit in graph.hits[name]
            if hit.rule.action and hit.rule.interfaces
        ]
        if rules:
            naming[name] = rules
    for reached in walks.values():
        for name in naming.keys() & reached.keys():
            for passing, rule in naming[name]:
                for ways in _members(reached[name]):
                    if ways & passing & _LIVE:
                        for family in _FAMILIES[ways & passing & (_IPV4 | _IPV6)]:
                            facts.interfaces.update((family, name, i) for i in rule.interfaces)


def _add_untracked(facts: RulesetFacts, graph: Graph, bases: dict[str, Chain]) -> None:
    """Add what keeps packets from being tracked, or tracks them in a zone of their own."""
    notrack: dict[tuple[str, int], frozenset[Family]] = {}
    for name, base in bases.items():
        if base.hook not in {Hook.PREROUTING, Hook.OUTPUT} or base.priority >= PRIORITY_CONNTRACK:
            continue
        for visit in graph.visits(name, graph.walk(name)):
            chain, position, rule, _ = visit.hit
            if rule.notrack:
                before = notrack.get((chain, position), frozenset())
                notrack[chain, position] = before | visit.live
            if rule.notrack or rule.zone:
                facts.loopback_untracked |= visit.loopback
    for families in notrack.values():
        facts.notrack.update(families)
