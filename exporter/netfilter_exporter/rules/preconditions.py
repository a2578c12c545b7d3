"""What a translating rule cannot match a packet without, and the jumps that lead to it.

A set must have an element, an interface be present and no port of a bridge, an address be one of
this host. What holds of the host is unknown here: `matchability` judges.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from netfilter_exporter.rules.detail import NatTarget, RuleDetail
from netfilter_exporter.rules.families import Family, Hook
from netfilter_exporter.rules.graph import ChainClass, Graph, is_of_interest
from netfilter_exporter.rules.listening import Listening, listening
from netfilter_exporter.rules.match import (
    FAMILY_OF_DESTINATION,
    FAMILY_OF_SOURCE,
    INPUTS,
    LOOPBACK,
    Field,
    InIpset,
    InSet,
    Intervals,
    Range,
    contains,
    interface_names,
    narrowed,
)
from netfilter_exporter.rules.model import Action, Rule, Table
from netfilter_exporter.rules.publishing import Published, published
from netfilter_exporter.rules.summaries import RuleHit

#: Translating rules of a table that are read in full: more of them may match anything.
MOST_READ = 256
#: Chains, and rules in them, up to which the jumps between them are read.
_MOST_CHAINS, _MOST_RULES = 512, 4096
#: Ports where programs listen, and published ones, that are judged in a table.
_MOST_PORTS = 32
#: Addresses of one match that are compared with those of the host.
_MOST_ADDRESSES = 8

_LEAVES = frozenset({Field.OUTPUT_INTERFACE, Field.OUTPUT_INDEX})
#: What a rule for forwarded packets compares. A mark, or a user, may be of what this host sends.
_OF_FORWARDED = frozenset(
    {
        *_LEAVES,
        *INPUTS,
        *FAMILY_OF_SOURCE,
        *FAMILY_OF_DESTINATION,
        Field.FAMILY,
        Field.ETHERTYPE,
        Field.PROTOCOL,
        Field.DESTINATION_PORT,
        Field.CT_STATE,
    }
)
_AT_SOURCE = frozenset({Action.MASQUERADE, Action.SNAT, Action.NETMAP})
_AT_DESTINATION = frozenset({Action.DNAT, Action.REDIRECT})


class Destinations(NamedTuple):
    """Addresses of which the packet goes to one."""

    family: Family
    numbers: tuple[int, ...]


class Arriving(NamedTuple):
    """Which forwarded packets a rule may match, as far as where they come from goes."""

    families: frozenset[Family]
    sources: Intervals | None = None  #: their addresses; None: any
    inputs: tuple[Range, ...] = ()  #: the names and indices of the interfaces where they arrive


class Precondition(NamedTuple):
    """What the matches of a rule require; all of it must hold."""

    interfaces: tuple[str, ...] = ()  #: as in `Rule.interfaces`: all are present
    sets: tuple[InSet | InIpset, ...] = ()  #: each has an element that can match
    destinations: Destinations | None = None  #: of a rule that changes it: one is local
    #: A rule that sends what this host receives to 127.0.0.0/8: the incoming interfaces; none: any.
    from_interfaces: tuple[str, ...] | None = None
    leaves: tuple[Range, ...] = ()  #: what its packets leave by: names, and indices
    arriving: Arriving | None = None  #: of a rule at the source: some of these are tracked
    listening: Listening | None = None  #: a program takes what the rule sends to this host
    published: Published | None = None  #: no rule drops all that this one sends to another host


NOTHING = Precondition()


class Translating(NamedTuple):
    """A translating rule that packets reach, as far as its chain goes."""

    families: frozenset[Family]
    chain: str
    position: int  #: counted from 1
    action: Action
    is_source: bool  #: it translates the source of what leaves this host
    needs: Precondition
    target: Destinations | None = None  #: the address that it gives outgoing packets


class Way(NamedTuple):
    """A jump from a chain to another."""

    origin: str
    target: str
    needs: Precondition


@dataclasses.dataclass
class TablePreconditions:
    """The rules of a table that may turn out to match nothing."""

    families: frozenset[Family]
    table: str
    bases: tuple[str, ...] = ()  #: chains where packets begin
    rules: list[Translating] = dataclasses.field(default_factory=list)
    ways: list[Way] = dataclasses.field(default_factory=list)  #: none: every chain is reached
    #: Source-translating rules that packets reach, those that are not in `rules` included.
    sources: Counter[Family] = dataclasses.field(default_factory=Counter)

    #: Translating rules behind each hook, those that another rule hides included.
    translating: Counter[tuple[Family, Hook, Action]] = dataclasses.field(default_factory=Counter)

    @property
    def is_in_question(self) -> bool:
        """Whether something of the host decides about a rule."""
        return any(rule.needs != NOTHING for rule in self.rules) or bool(self.ways)


def collect(
    graph: Graph, nat: Mapping[str, Hook], classes: Sequence[ChainClass]
) -> TablePreconditions:
    """Return what the translating rules of one table require; `nat` are its NAT base chains."""
    table = graph.table
    found = TablePreconditions(table.families, table.name, tuple(nat))
    hooks = list(nat.values())
    for group in classes:
        for hit in group.hits:
            for family in _sources(group, hit, hooks):
                found.sources[family] += len(group.chains)
            if hit.rule.action is not None:
                action = hit.rule.action
                for number, hook in enumerate(hooks):
                    for family in group.reach(hit, number).families:
                        found.translating[family, hook, action] += len(group.chains)
    all_ = (r for g in classes for chain in g.chains for r in _of_chain(table, chain, g, hooks))
    rules = _without_many_ports(list(itertools.islice(all_, MOST_READ)))
    same: dict[Precondition, Precondition] = {}  # most rules require the same, which is judged once
    found.rules = [rule._replace(needs=same.setdefault(rule.needs, rule.needs)) for rule in rules]
    found.ways = _ways(graph)
    return found


def _without_many_ports(rules: list[Translating]) -> list[Translating]:
    """Return rules without their ports where these are many: most are those of containers."""
    if len({(rule.needs.listening, rule.needs.published) for rule in rules}) <= _MOST_PORTS:
        return rules
    return [
        rule._replace(needs=rule.needs._replace(listening=None, published=None)) for rule in rules
    ]


def _sources(group: ChainClass, hit: RuleHit, hooks: Sequence[Hook]) -> frozenset[Family]:
    """Return the families of which a rule translates the source of what leaves this host."""
    found: frozenset[Family] = frozenset()
    if hit.rule.action in _AT_SOURCE:
        for number, hook in enumerate(hooks):
            if hook is Hook.POSTROUTING:
                found |= group.reach(hit, number).live
    return found


def _of_chain(
    table: Table, chain: str, group: ChainClass, hooks: Sequence[Hook]
) -> Iterator[Translating]:
    of_interest = (
        (position, detail)
        for position, (rule, detail) in enumerate(zip(table.rules(chain), table.details(chain)), 1)
        if is_of_interest(rule)
    )
    for hit, (position, detail) in zip(group.hits, of_interest):
        action = hit.rule.action
        reaches = [group.reach(hit, number).live for number in range(len(hooks))]
        families = frozenset().union(*reaches)
        if action is None or not families:
            continue
        at = frozenset(hook for hook, live in zip(hooks, reaches) if live)
        is_source = action in _AT_SOURCE and Hook.POSTROUTING in at
        needs = _of_rule(hit.rule, detail, at)
        needs = needs._replace(
            listening=listening(families, action, detail, at),
            published=published(families, action, detail, at),
        )
        if is_source:
            needs = needs._replace(arriving=_arriving(families, detail))
        target = _single(detail.nat) if is_source and action is Action.SNAT else None
        yield Translating(families, chain, position, action, is_source, needs, target)


def _of_rule(rule: Rule, detail: RuleDetail, at: frozenset[Hook]) -> Precondition:
    ranges = [match for match in narrowed(detail.matches) if isinstance(match, Range)]
    needs = _of_matches(rule, detail)
    if rule.action in _AT_DESTINATION and Hook.PREROUTING in at:
        needs = needs._replace(destinations=_destinations(ranges))
    if rule.action is Action.DNAT and at == {Hook.PREROUTING} and _to_loopback(detail.nat):
        needs = needs._replace(from_interfaces=_incoming(ranges))
    return needs


def _of_matches(rule: Rule, detail: RuleDetail) -> Precondition:
    """Return what a rule requires that holds for a jump too."""
    sets = tuple(
        match
        for match in detail.matches
        if isinstance(match, (InSet, InIpset)) and not match.negated
    )
    leaves = tuple(m for m in detail.matches if isinstance(m, Range) and m.field in _LEAVES)
    return Precondition(rule.interfaces, sets, leaves=leaves)


def _arriving(families: frozenset[Family], detail: RuleDetail) -> Arriving | None:
    """Return what a rule may match; None: unknown, or it may be for what this host sends."""
    found = Arriving(families)
    for match in detail.matches:
        if not isinstance(match, Range) or match.field not in _OF_FORWARDED:
            return None
        if match.field in INPUTS:
            found = found._replace(inputs=(*found.inputs, match))
        elif match.field in FAMILY_OF_SOURCE:
            if found.sources is not None or _is_one(match.intervals):
                return None
            family = FAMILY_OF_SOURCE[match.field]
            found = Arriving(families & {family}, match.intervals, found.inputs)
    return found if found.families else None


def _is_one(intervals: Intervals) -> bool:
    """Return whether it is a single address: that may be this host."""
    return all(first == last for first, last in intervals)


def _destinations(ranges: Iterable[Range]) -> Destinations | None:
    """Return the single addresses that a rule compares the destination with."""
    for match in ranges:
        family = FAMILY_OF_DESTINATION.get(match.field)
        single = all(first == last for first, last in match.intervals)
        if family and single and 0 < len(match.intervals) <= _MOST_ADDRESSES:
            return Destinations(family, tuple(first for first, _ in match.intervals))
    return None


def _single(target: NatTarget | None) -> Destinations | None:
    """Return the only address that a rule translates to."""
    if target is None or not target.known or target.family is None or target.addresses is None:
        return None
    first, last = target.addresses
    return Destinations(target.family, (first,)) if first == last else None


def _to_loopback(target: NatTarget | None) -> bool:
    if target is None or target.family is not Family.IPV4 or target.addresses is None:
        return False
    return contains(LOOPBACK[Family.IPV4], (target.addresses,))


def _incoming(ranges: Iterable[Range]) -> tuple[str, ...] | None:
    """Return the interfaces that a rule names; none: any; None: unknown."""
    for match in ranges:
        if match.field is Field.INPUT_INDEX:
            return None
        if match.field is Field.INPUT_INTERFACE:
            names = interface_names(match)
            whole = not match.negated and len(names) == len(match.intervals)
            return names if whole and "lo" not in names else None
    return ()


def _ways(graph: Graph) -> list[Way]:
    """Return the jumps between the chains that packets come to, where one of them may fail."""
    summaries = graph.summaries
    size = sum(summary.size for summary in summaries.values())
    if len(summaries) > _MOST_CHAINS or size > _MOST_RULES:
        return []
    found = []
    for name in summaries:
        details = graph.table.details(name)
        for rule, detail in zip(graph.table.rules(name), details):
            needs = NOTHING if rule.maps else _of_matches(rule, detail) if rule.targets else None
            if needs is not None:
                found += [Way(name, target, needs) for target in graph.table.leads(rule)]
    return found if any(way.needs != NOTHING for way in found) else []
