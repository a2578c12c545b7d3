"""Which rules of a ruleset can translate, and which are there in vain.

Pure functions on the model of `ruleset`: a graph of chains, entered at the base chains.
Deliberately conservative: only a rule without any match and with a final verdict hides what
follows it, and only in its own chain.
"""

from __future__ import annotations

import collections
import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netfilter_exporter.kernel.families import BOTH, Family, Hook
from netfilter_exporter.kernel.ruleset import Action, Chain, Rule, Table

#: NF_IP_PRI_CONNTRACK: a chain behind it can no longer keep a packet from being tracked.
PRIORITY_CONNTRACK = -200

#: What translates forwarded traffic, by hook: redirect is for this host, input and output too.
FORWARDED = {
    Hook.POSTROUTING: frozenset({Action.SNAT, Action.MASQUERADE, Action.NETMAP}),
    Hook.PREROUTING: frozenset({Action.DNAT, Action.NETMAP}),
}


#: Shadows that are kept for a person to read; all are counted.
SHADOW_LIMIT = 64


class BaseChain(NamedTuple):
    """The labels of a NAT base chain."""

    family: Family
    table: str
    chain: str
    hook: Hook


class Shadow(NamedTuple):
    """A translating rule that no packet reaches; positions count from 1, as nft and iptables do."""

    table: str
    chain: str
    position: int
    rule: Rule
    hidden_by: int | None  #: position in the same chain; None: nothing leads to the chain any more


@dataclasses.dataclass
class RulesetFacts:
    """What a ruleset says about NAT; a rule that both families meet counts once in each."""

    chain_rules: Counter[BaseChain] = dataclasses.field(default_factory=Counter)
    table_rules: Counter[tuple[Family, str]] = dataclasses.field(default_factory=Counter)
    rules: Counter[tuple[Family, Action]] = dataclasses.field(default_factory=Counter)
    forwarded: Counter[Family] = dataclasses.field(default_factory=Counter)
    unreachable: Counter[BaseChain] = dataclasses.field(default_factory=Counter)
    dormant: Counter[tuple[Family, str]] = dataclasses.field(default_factory=Counter)
    notrack: Counter[Family] = dataclasses.field(default_factory=Counter)
    #: family, chain and name of every interface that a translating rule needs
    interfaces: set[tuple[Family, str, str]] = dataclasses.field(default_factory=set)
    #: families and actions of rules whose action is an xt target
    extension: set[tuple[Family, Action]] = dataclasses.field(default_factory=set)
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


class Arrival(NamedTuple):
    """A way in which packets come to a chain."""

    families: frozenset[Family]
    loopback: bool = True
    live: bool = True


class Visit(NamedTuple):
    """A rule of interest as the packets of one base chain meet it."""

    base: str
    hook: Hook
    hit: Hit
    families: frozenset[Family]  #: that would meet it if nothing were hidden
    live: frozenset[Family]  #: that do


class View(NamedTuple):
    """A chain as a node of the graph: what is in it, and (target, rule, live) for each way out."""

    size: int
    hits: list[Hit]
    edges: list[tuple[str, Rule, bool]]


class Graph:
    """The chains of one table, looked at as they are reached."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._views: dict[str, View] = {}

    def view(self, name: str) -> View:
        if name not in self._views:
            self._views[name] = self._look(name, self.table.chains.get(name, Chain([])))
        return self._views[name]

    def _look(self, name: str, chain: Chain) -> View:
        view = View(len(chain.rules), [], [])
        hidden_by = None
        for position, rule in enumerate(chain.rules, 1):
            if rule.targets or rule.maps:
                view.edges.extend((t, rule, hidden_by is None) for t in self._targets(rule))
            if rule.action or rule.notrack or rule.zone:
                view.hits.append(Hit(name, position, rule, hidden_by))
            if not rule.conditional and hidden_by is None and rule.hides:
                hidden_by = position
        return view

    def _targets(self, rule: Rule) -> Iterator[str]:
        yield from rule.targets
        for name in rule.maps:
            yield from self.table.maps.get(name, ())

    def walk(self, base: str) -> dict[str, set[Arrival]]:
        """Return the chains that packets of a base chain come to, with the ways they come."""
        reached: dict[str, set[Arrival]] = collections.defaultdict(set)
        todo = [(base, Arrival(self.table.families))]
        while todo:
            name, arrival = todo.pop()
            if arrival in reached[name]:
                continue
            reached[name].add(arrival)
            for target, rule, live in self.view(name).edges:
                families = _meet(arrival.families, rule)
                if families:
                    loopback = arrival.loopback and rule.loopback
                    todo.append((target, Arrival(families, loopback, arrival.live and live)))
        return reached

    def translating(self) -> set[str]:
        """Return the looked-at chains in which, or behind which, there is a translating rule."""
        comes_from: dict[str, set[str]] = collections.defaultdict(set)
        for name, view in self._views.items():
            for target, _, _ in view.edges:
                comes_from[target].add(name)
        todo = [n for n, v in self._views.items() if any(hit.rule.action for hit in v.hits)]
        found: set[str] = set()
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo.extend(comes_from[name])
        return found


Reached = dict[str, set[Arrival]]  #: chains, each with the ways that packets come to it


def _meet(families: frozenset[Family], rule: Rule) -> frozenset[Family]:
    return families if rule.families is BOTH else families & rule.families


def analyse(tables: Iterable[Table]) -> RulesetFacts:
    """Return what the tables of one ruleset, all of one backend, say together."""
    facts = RulesetFacts()
    for table in tables:
        graph = Graph(table)
        nat = [n for n, c in table.chains.items() if c.type == "nat" and c.hook is not None]
        walks = {name: graph.walk(name) for name in nat}
        _add_sizes(facts, graph, walks)
        visits = [v for name, reached in walks.items() for v in _visits(graph, name, reached)]
        if table.dormant:
            _add_dormant(facts, table, visits)
            continue
        _add_translations(facts, visits)
        _add_unreachable(facts, table, visits)
        _add_interfaces(facts, graph, walks)
        _add_untracked(facts, graph)
        facts.forward_drops |= {
            family
            for chain in table.chains.values()
            if chain.hook is Hook.FORWARD and chain.drops
            for family in table.families
        }
    return facts


def _visits(graph: Graph, base: str, reached: Reached) -> Iterator[Visit]:
    """Yield each rule of interest in the chains that `base` leads to."""
    hook = graph.table.chains[base].hook
    for chain, arrivals in reached.items():
        for hit in graph.view(chain).hits:
            families: frozenset[Family] = frozenset()
            live: frozenset[Family] = frozenset()
            for arrival in arrivals:
                met = _meet(arrival.families, hit.rule)
                families |= met
                if arrival.live and hit.hidden_by is None:
                    live |= met
            if hook is not None:
                yield Visit(base, hook, hit, families, live)


def _rules(visits: Iterable[Visit]) -> Iterator[tuple[Rule, Action, frozenset[Family]]]:
    """Yield each translating rule once, however many base chains lead to it."""
    met: dict[tuple[str, int], tuple[Rule, Action, frozenset[Family]]] = {}
    for visit in visits:
        chain, position, rule, _ = visit.hit
        if rule.action:
            _, _, before = met.get((chain, position), (rule, rule.action, visit.families))
            met[chain, position] = rule, rule.action, before | visit.families
    yield from met.values()


def _add_sizes(facts: RulesetFacts, graph: Graph, walks: dict[str, Reached]) -> None:
    table = graph.table
    for name in walks:
        base = table.chains[name]
        for family in table.families:
            label = BaseChain(family, table.name, name, base.hook or Hook.PREROUTING)
            facts.chain_rules[label] += len(base.rules)
            facts.unreachable[label] += 0
    for family in table.families if walks else ():
        chains = {
            name
            for reached in walks.values()
            for name, arrivals in reached.items()
            if any(family in arrival.families for arrival in arrivals)
        }
        facts.table_rules[family, table.name] += sum(graph.view(name).size for name in chains)


def _add_dormant(facts: RulesetFacts, table: Table, visits: list[Visit]) -> None:
    for _, _, families in _rules(visits):
        for family in families:
            facts.dormant[family, table.name] += 1


def _add_translations(facts: RulesetFacts, visits: list[Visit]) -> None:
    for rule, action, families in _rules(visits):
        for family in families:
            facts.rules[family, action] += 1
            if rule.extension:
                facts.extension.add((family, action))
    forwarded = [v for v in visits if v.hit.rule.action in FORWARDED.get(v.hook, ())]
    for _, _, families in _rules(forwarded):
        facts.forwarded.update(families)


def _add_unreachable(facts: RulesetFacts, table: Table, visits: list[Visit]) -> None:
    for visit in visits:
        if visit.hit.rule.action is None:
            continue
        hidden = visit.families - visit.live
        for family in hidden:
            facts.unreachable[BaseChain(family, table.name, visit.base, visit.hook)] += 1
        shadow = Shadow(table.name, *visit.hit)
        if hidden and len(facts.shadows) < SHADOW_LIMIT and shadow not in facts.shadows:
            facts.shadows.append(shadow)


def _add_interfaces(facts: RulesetFacts, graph: Graph, walks: dict[str, Reached]) -> None:
    """Add the interfaces that a translating rule, or a jump towards one, cannot do without."""
    translating = graph.translating()
    for reached in walks.values():
        for name, arrivals in reached.items():
            families = frozenset().union(*(a.families for a in arrivals if a.live))
            view = graph.view(name)
            needing = [h.rule for h in view.hits if h.rule.action and h.hidden_by is None]
            needing += [r for target, r, live in view.edges if live and target in translating]
            for rule in needing:
                for interface in rule.interfaces:
                    for family in _meet(families, rule):
                        facts.interfaces.add((family, name, interface))


def _add_untracked(facts: RulesetFacts, graph: Graph) -> None:
    """Add what keeps packets from being tracked, or tracks them in a zone of their own."""
    counted: dict[tuple[str, int], frozenset[Family]] = {}
    for name, chain in graph.table.chains.items():
        before = (
            chain.hook in {Hook.PREROUTING, Hook.OUTPUT} and chain.priority < PRIORITY_CONNTRACK
        )
        for reached_name, arrivals in graph.walk(name).items() if before else ():
            for hit in graph.view(reached_name).hits:
                if hit.hidden_by is not None or not (hit.rule.notrack or hit.rule.zone):
                    continue
                for arrival in arrivals:
                    met = _meet(arrival.families, hit.rule) if arrival.live else frozenset()
                    if hit.rule.notrack:
                        key = hit.chain, hit.position
                        counted[key] = counted.get(key, frozenset()) | met
                    if arrival.loopback and hit.rule.loopback:
                        facts.loopback_untracked |= met
    for families in counted.values():
        facts.notrack.update(families)
