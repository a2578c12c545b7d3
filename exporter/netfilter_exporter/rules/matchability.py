"""Which translating rules no packet can match, given what holds of the host."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.listening import Listening
from netfilter_exporter.rules.match import InIpset, InSet, Range
from netfilter_exporter.rules.preconditions import (
    Arriving,
    Destinations,
    Precondition,
    TablePreconditions,
    Translating,
)
from netfilter_exporter.rules.publishing import Published


class Reason(enum.Enum):
    """Why no packet matches a rule, or gets anywhere; the value is the label `reason`."""

    EMPTY_SET = "empty_set"
    MISSING_INTERFACE = "missing_interface"
    BRIDGE_PORT = "bridge_port"
    MISSING_ADDRESS = "missing_address"
    ROUTE_LOCALNET = "route_localnet"
    UNTRACKED = "untracked"
    NO_LISTENER = "no_listener"
    DROPPED = "dropped"
    ANOTHER_EGRESS = "another_egress"  #: of the packets in question; not on the page


class Cause(NamedTuple):
    """Why a condition does not hold, and of what."""

    reason: Reason
    what: str  #: the set, interface or address
    #: What fails now and may be so on purpose: only history shows whether that is a fault. A set
    #: that fills and empties by itself, or a port at which nothing was seen to listen.
    changes: bool = False
    missing: tuple[str, ...] = ()  #: the interfaces that a set names, none of which is present


class World(Protocol):
    """What holds of the host; None: nothing is known to fail."""

    def interface(self, name: str) -> Cause | None: ...

    def set(self, families: frozenset[Family], table: str, match: InSet) -> Cause | None: ...

    def ipset(self, match: InIpset) -> Cause | None: ...

    def destinations(self, wanted: Destinations) -> Cause | None: ...

    def loopback(self, interfaces: tuple[str, ...]) -> Cause | None: ...

    def arriving(self, wanted: Arriving) -> Cause | None: ...

    def leaves(self, match: Range) -> Cause | None: ...

    def listening(self, wanted: Listening) -> Cause | None: ...

    def published(self, wanted: Published) -> Cause | None: ...


class Unmatchable(NamedTuple):
    """A translating rule that no packet matches."""

    table: str
    table_families: frozenset[Family]
    rule: Translating
    cause: Cause
    jump: str | None = None  #: the chain whose jump to the rule's chain fails


def judge(
    conditions: TablePreconditions, world: World, *, sources: bool = False
) -> Iterator[Unmatchable]:
    """Yield the rules of a table that no packet matches; with `sources`, of those alone."""
    failing = _failing_chains(conditions, world)
    judged: dict[int, Cause | None] = {}  #: by identity of what is required
    for rule in conditions.rules:
        if sources and not rule.is_source:
            continue
        needs = id(rule.needs)
        if needs not in judged:
            judged[needs] = _first(conditions, rule.needs, world)
        origin, cause = failing.get(rule.chain, (None, None)) if failing else (None, None)
        cause = cause or judged[needs]
        if cause:
            yield Unmatchable(conditions.table, conditions.families, rule, cause, origin)


def _failing_chains(
    conditions: TablePreconditions, world: World
) -> dict[str, tuple[str | None, Cause | None]]:
    """Return the chains to which no jump can lead, with the chain and cause of a jump that fails.

    A chain behind such a chain has the cause of that one.
    """
    if not conditions.ways:
        return {}
    causes = [(way, _first(conditions, way.needs, world)) for way in conditions.ways]
    reached = {*conditions.bases}
    grows = True
    while grows:
        new = {w.target for w, cause in causes if not cause and w.origin in reached} - reached
        reached |= new
        grows = bool(new)
    failing: dict[str, tuple[str | None, Cause | None]] = {}
    for way, cause in causes:
        if cause and way.origin in reached and way.target not in reached:
            failing.setdefault(way.target, (way.origin, cause))
    grows = bool(failing)
    while grows:
        known = len(failing)
        for way, _ in causes:
            if way.origin in failing and way.target not in reached:
                failing.setdefault(way.target, failing[way.origin])
        grows = len(failing) > known
    return failing


def _first(conditions: TablePreconditions, needs: Precondition, world: World) -> Cause | None:
    """Return why a rule with `needs` matches nothing."""
    for name in needs.interfaces:
        if cause := world.interface(name):
            return cause
    for leaving in needs.leaves:
        if cause := world.leaves(leaving):
            return cause
    for match in needs.sets:
        if isinstance(match, InIpset):
            cause = world.ipset(match)
        else:
            cause = world.set(conditions.families, conditions.table, match)
        if cause:
            return cause
    return _of_way(needs, world)


def _of_way(needs: Precondition, world: World) -> Cause | None:
    """Return why packets do not come to a rule, or do not get to where it sends them."""
    if needs.destinations and (cause := world.destinations(needs.destinations)):
        return cause
    if needs.from_interfaces is not None and (cause := world.loopback(needs.from_interfaces)):
        return cause
    if needs.listening and (cause := world.listening(needs.listening)):
        return cause
    if needs.published and (cause := world.published(needs.published)):
        return cause
    return world.arriving(needs.arriving) if needs.arriving else None
