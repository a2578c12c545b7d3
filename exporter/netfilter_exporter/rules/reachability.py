"""Which rules of a ruleset can translate, and which cannot.

Pure functions on the model in `model`; what hides a rule is in `termination`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from netfilter_exporter.rules import exemption
from netfilter_exporter.rules.counted import CountedRules
from netfilter_exporter.rules.earlier import find_earlier
from netfilter_exporter.rules.families import Family, Hook
from netfilter_exporter.rules.graph import ChainClass, Graph, Reached
from netfilter_exporter.rules.model import Action, Table
from netfilter_exporter.rules.passage import Passage
from netfilter_exporter.rules.preconditions import TablePreconditions, collect
from netfilter_exporter.rules.remembered import Remembered
from netfilter_exporter.rules.rewriting import rewritten
from netfilter_exporter.rules.shadows import SHADOW_LIMIT, Shadow
from netfilter_exporter.rules.translations import TranslationFacts


class BaseChain(NamedTuple):
    """The labels of a NAT base chain."""

    family: Family
    table: str
    chain: str
    hook: Hook


class Translation(NamedTuple):
    """What can be asked of a translating rule, but for its chain: there may be ten thousand."""

    families: frozenset[Family]
    action: Action
    table: str
    interfaces: tuple[str, ...]
    extension: bool


@dataclasses.dataclass
class RulesetFacts:
    """What a ruleset says about NAT; a rule that both families meet counts once in each."""

    chain_rules: Counter[BaseChain] = dataclasses.field(default_factory=Counter)
    table_rules: Counter[tuple[Family, str]] = dataclasses.field(default_factory=Counter)
    #: every kind of translating rule there is, with the chains that have one
    translations: dict[Translation, set[str]] = dataclasses.field(default_factory=dict)
    rules: Counter[tuple[Family, Action]] = dataclasses.field(default_factory=Counter)
    #: of those, the ones that some packet can reach
    reached: Counter[tuple[Family, Action]] = dataclasses.field(default_factory=Counter)
    #: the translating rules with a counter
    counted: CountedRules = dataclasses.field(default_factory=CountedRules)
    in_full: TranslationFacts = dataclasses.field(default_factory=TranslationFacts)
    #: what those of each table require of the host
    preconditions: list[TablePreconditions] = dataclasses.field(default_factory=list)
    unreachable: Counter[BaseChain] = dataclasses.field(default_factory=Counter)
    dormant: Counter[tuple[Family, str]] = dataclasses.field(default_factory=Counter)
    #: families and names of the tables that those rules are in
    dormant_tables: set[tuple[frozenset[Family], str]] = dataclasses.field(default_factory=set)
    notrack: Counter[Family] = dataclasses.field(default_factory=Counter)
    #: families of which a rule writes addresses into packets, statelessly
    rewritten: set[Family] = dataclasses.field(default_factory=set)
    #: family, chain and name of every interface that a translating rule needs
    interfaces: set[tuple[Family, str, str]] = dataclasses.field(default_factory=set)
    #: families of which no packet is tracked that is received
    untracked: set[Family] = dataclasses.field(default_factory=set)
    #: families of which a notrack or zone rule may match packets
    exempting: set[Family] = dataclasses.field(default_factory=set)
    #: families of which a notrack or zone rule may touch loopback
    loopback_untracked: set[Family] = dataclasses.field(default_factory=set)
    #: tables that put received packets into conntrack zones
    zoning: list[Table] = dataclasses.field(default_factory=list)
    #: tables that exempt received packets from tracking
    untracking: list[Table] = dataclasses.field(default_factory=list)
    #: conntrack helpers that rules of iptables assign, which packets come to before tracking
    helpers: set[str] = dataclasses.field(default_factory=set)
    #: base chains that may drop what is forwarded
    passage: Passage = dataclasses.field(default_factory=Passage)
    #: families of which a forward base chain has the policy drop
    forward_drops: set[Family] = dataclasses.field(default_factory=set)
    shadows: list[Shadow] = dataclasses.field(default_factory=list)
    #: translating rules of which it is unknown whether packets reach them, by family and table
    undecided: Counter[tuple[Family, str]] = dataclasses.field(default_factory=Counter)
    #: accepts and returns behind the translation that they were to exempt from, likewise
    hidden_exemptions: Counter[tuple[Family, str]] = dataclasses.field(default_factory=Counter)
    exemptions: list[Shadow] = dataclasses.field(default_factory=list)


_NONE: frozenset[Family] = frozenset()

#: What is remembered of each table, by families and name.
Memory = dict[tuple["frozenset[Family]", str], Remembered]


def analyze(tables: Iterable[Table], memory: Memory | None = None) -> RulesetFacts:
    """Return what the tables of one ruleset, all of one backend, say together.

    What `memory` has of an earlier state is not found out again where it is the same; it has this
    state afterwards.
    """
    facts = RulesetFacts()
    tables = list(tables)
    before = dict(memory or {})
    if memory is not None:
        memory.clear()
    for table, earlier in zip(tables, find_earlier(tables)):
        key = table.families, table.name
        graph = Graph(table, earlier, before.get(key), remembers=memory is not None)
        _analyze(facts, graph)
        if memory is not None:
            memory[key] = graph.remember()
    facts.passage.add_publishing(tables)
    return facts


def _analyze(facts: RulesetFacts, graph: Graph) -> None:
    """Add what one table says."""
    table = graph.table
    facts.passage.add(table)
    bases = {name: chain.hook for name, chain in table.chains.items() if chain.hook is not None}
    nat = {name: hook for name, hook in bases.items() if table.chains[name].translates}
    reached = graph.walk(nat)
    classes = graph.classes(reached)
    _add_sizes(facts, graph, nat, reached)
    if table.dormant:
        _add_dormant(facts, table, classes)
        return
    _add_translations(facts, table, classes)
    facts.counted.add(table, classes)
    facts.in_full.add(table, list(nat.values()), classes)
    if nat:
        facts.preconditions.append(collect(graph, nat, classes))
    _add_unreachable(facts, graph, nat, classes)
    _add_covers(facts, graph, reached)
    _add_interfaces(facts, graph, reached)
    _add_untracked(facts, graph, bases)
    facts.rewritten |= rewritten(table)
    if any(hook is Hook.FORWARD and table.chains[n].drops for n, hook in bases.items()):
        facts.forward_drops |= table.families


def _add_interfaces(facts: RulesetFacts, graph: Graph, reached: Reached) -> None:
    """Add each interface once in a family, with the first chain that names it."""
    known = {(family, interface) for family, _, interface in facts.interfaces}
    for chain, family, interface in sorted(graph.needing(reached), key=lambda found: found[0]):
        if (family, interface) not in known:
            known.add((family, interface))
            facts.interfaces.add((family, chain, interface))


def _ordered(families: Collection[Family]) -> list[Family]:
    return [family for family in Family if family in families]


def _add_sizes(
    facts: RulesetFacts, graph: Graph, nat: Mapping[str, Hook], reached: Reached
) -> None:
    table = graph.table
    for name, hook in nat.items():
        for family in _ordered(table.families):
            label = BaseChain(family, table.name, name, hook)
            facts.chain_rules[label] += len(table.chains[name].rules)
            if not table.dormant:
                facts.unreachable[label] += 0
    if nat:
        for family, size in graph.sizes(reached).items():
            facts.table_rules[family, table.name] += size


def _add_dormant(facts: RulesetFacts, table: Table, groups: Iterable[ChainClass]) -> None:
    for group in groups:
        for hit in group.hits:
            for family in _ordered(group.reach_of_any(hit).families) if hit.rule.action else ():
                facts.dormant[family, table.name] += len(group.chains)
                facts.dormant_tables.add((table.families, table.name))


def _add_translations(facts: RulesetFacts, table: Table, groups: Iterable[ChainClass]) -> None:
    for group in groups:
        for hit in group.hits:
            action = hit.rule.action
            if action is None:
                continue
            reach = group.reach_of_any(hit)
            kind = Translation(
                reach.families, action, table.name, hit.rule.interfaces, hit.rule.extension
            )
            facts.translations.setdefault(kind, set()).update(group.chains)
            for family in _ordered(reach.families):
                facts.rules[family, action] += len(group.chains)
                facts.reached[family, action] += len(group.chains) * (family in reach.live)


def _add_unreachable(
    facts: RulesetFacts, graph: Graph, nat: Mapping[str, Hook], groups: list[ChainClass]
) -> None:
    table = graph.table
    for number, (base, hook) in enumerate(nat.items()):
        for group in groups:
            hidden = [
                group.reach(hit, number).hidden if hit.rule.action else _NONE for hit in group.hits
            ]
            for families in hidden:
                for family in _ordered(families):
                    label = BaseChain(family, table.name, base, hook)
                    facts.unreachable[label] += len(group.chains)
            for chain in group.chains if any(hidden) else ():
                _add_shadows(facts, graph.shadows(base, chain, [*map(bool, hidden)]))


def _add_covers(facts: RulesetFacts, graph: Graph, reached: Reached) -> None:
    """Add what is undecided, and exemptions that come too late."""
    table = graph.table
    for families in graph.undecided(reached):
        for family in families:
            facts.undecided[family, table.name] += 1
    for shadow in graph.exemptions(reached):
        for family in shadow.families:
            facts.hidden_exemptions[family, table.name] += 1
        if len(facts.exemptions) < SHADOW_LIMIT:
            facts.exemptions.append(shadow)


def _add_shadows(facts: RulesetFacts, shadows: Iterable[Shadow]) -> None:
    if len(facts.shadows) < SHADOW_LIMIT:
        for shadow in shadows:
            if len(facts.shadows) < SHADOW_LIMIT and shadow not in facts.shadows:
                facts.shadows.append(shadow)


def _add_untracked(facts: RulesetFacts, graph: Graph, bases: Iterable[str]) -> None:
    """Add what keeps packets from being tracked, or tracks them in a separate zone."""
    chains = graph.table.chains
    before_tracking = [name for name in bases if chains[name].is_before_tracking]
    zones = exempting = False
    for group in graph.classes(graph.walk(before_tracking)):
        for hit in group.hits:
            reach = group.reach_of_any(hit)
            if hit.rule.notrack:
                for family in _ordered(reach.live):
                    facts.notrack[family] += len(group.chains)
                exempting = True
            if hit.rule.notrack or hit.rule.zone:
                facts.exempting |= reach.families
                facts.loopback_untracked |= reach.loopback
            zones = zones or hit.rule.zone
            if hit.rule.helper:
                facts.helpers.add(hit.rule.helper)
    if zones:
        facts.zoning.append(graph.table)
    if exempting:
        facts.untracking.append(graph.table)
    # A packet that was given a zone before has a template, which notrack leaves alone.
    if not zones and any(
        chains[name].is_before_all_tracking and exemption.exempts_all(graph.table, name)
        for name in before_tracking
    ):
        facts.untracked |= graph.table.families
