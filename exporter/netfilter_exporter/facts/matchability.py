"""Facts about translating rules that no packet of this host can match."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from netfilter_exporter.config.model import Role
from netfilter_exporter.facts.egress import (
    egresses,
    marked_egresses,
    uplinks,
    ways_out,
    ways_to_neighbors,
)
from netfilter_exporter.facts.ownership import ownership
from netfilter_exporter.facts.rulesets import Ruleset, rulesets
from netfilter_exporter.facts.snapshot import Host, Snapshot, fact, kept
from netfilter_exporter.facts.world import AtEgress, World
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.rules import matchability
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.matchability import Reason, Unmatchable


class Unmatched(NamedTuple):
    """What is known of the rules of all rulesets that were read."""

    rules: tuple[tuple[Backend, Unmatchable], ...] = ()
    #: Addresses that rules translate to and that no host has: backend, table, family and number.
    addresses: tuple[tuple[Backend, str, Family, int], ...] = ()
    #: Source-translating rules that packets may match, of families that have such rules. Where no
    #: packet matches any, only families in which one is missed.
    sources: tuple[tuple[Family, int], ...] = ()
    #: Interfaces by which packets leave for the internet, and whether none of those rules can
    #: match there; of families where such a rule can match anything.
    egresses: tuple[tuple[Family, str, bool], ...] = ()


def named_in_sets(found: Unmatched) -> Iterator[tuple[Backend, Family, str, str]]:
    """Yield (backend, family, chain, interface) for sets that name only missing interfaces."""
    for backend, each in found.rules:
        cause = each.cause
        if cause.missing and cause.what not in cause.missing:
            for family in each.rule.families:
                for name in cause.missing:
                    yield backend, family, each.rule.chain, name


class _Last:
    """The last answer: while nothing changes it stays the same object."""

    found = Unmatched()


@kept
def _last(_: Host) -> _Last:
    return _Last()


@fact
def unmatched(snapshot: Snapshot) -> Unmatched:
    """The translating rules that no packet can match, and how many sources may be translated."""
    last = _last(snapshot.host)
    found = _judge(snapshot)
    if found != last.found:
        last.found = found
    return last.found


def _judge(snapshot: Snapshot) -> Unmatched:
    with contextlib.closing(World(snapshot)) as world:
        found = [
            (ruleset.backend, rule)
            for ruleset in rulesets(snapshot)
            for conditions in (ruleset.facts.preconditions if ruleset.facts else ())
            if conditions.is_in_question
            for rule in matchability.judge(conditions, world)
        ]
        missing = tuple(dict.fromkeys(_missing(snapshot)))
        counts = _sources(rulesets(snapshot), (rule for _, rule in found))
        idle = _idle(snapshot, found)
        sources = tuple(each for each in counts if each[1] or each[0] not in idle)
        ways = _egresses(snapshot, world, dict(sources))
    missed = (each for each in found if not _is_idle(each[1], idle))
    return Unmatched(tuple(missed), missing, sources, ways)


def _idle(snapshot: Snapshot, found: Iterable[tuple[Backend, Unmatchable]]) -> frozenset[Family]:
    """Return the families in which nobody needs source NAT whose sets are empty."""
    empty = {f for _, each in found if _is_empty_source(each) for f in each.rule.families}
    return frozenset(family for family in empty if not _is_missed(snapshot, family))


def _is_idle(found: Unmatchable, families: Collection[Family]) -> bool:
    return _is_empty_source(found) and all(family in families for family in found.rule.families)


def _is_empty_source(found: Unmatchable) -> bool:
    return found.rule.is_source and found.cause.reason is Reason.EMPTY_SET


def _is_missed(snapshot: Snapshot, family: Family) -> bool:
    """Return whether what rules with empty sets translated, or may translate, is missed.

    Programs prepare such rules and leave them: systemd-networkd 249 to 255 on each host. Where no
    private network is behind this host, or no longer is, nobody needs them.
    """
    if snapshot.host.config.nat.role(family) is Role.REQUIRED:
        return True
    try:
        ways = (*ways_out(snapshot, (family,)), *ways_to_neighbors(snapshot, (family,)))
    except ReadError:
        return True
    return bool(ways)


def _egresses(
    snapshot: Snapshot, world: World, sources: Mapping[Family, int]
) -> tuple[tuple[Family, str, bool], ...]:
    """Return the interfaces that packets leave by, and whether no source is translated there.

    Where some of a family are covered, nothing is said of the others: networks that need no
    translation may leave by them, or packets whose mark gives them another way. Nor where all rules
    are for private networks.
    """
    families = [family for family, count in sources.items() if count]
    try:
        ways = egresses(snapshot, families) if families else ()
    except ReadError:
        return ()
    pairs = sorted({(f, n) for f, names in ways for n in names}, key=lambda p: (p[0].value, p[1]))
    found = [(f, n, not _is_covered(snapshot, AtEgress(world, n), f)) for f, n in pairs]
    lost = {f for f, _, _ in found} - {f for f, _, uncovered in found if not uncovered}
    if lost:
        lost -= {*_covered_by_mark(snapshot, world, lost)}
    for_internet = _for_internet(snapshot, world, lost) if lost else ()
    return tuple(each for each in found if not each[2] or each[0] in for_internet)


def _covered_by_mark(
    snapshot: Snapshot, world: World, families: Collection[Family]
) -> Collection[Family]:
    """Return the families of which packets with some mark are translated where they leave."""
    try:
        ways = marked_egresses(snapshot, families)
    except ReadError:
        return families
    return {f for f, name in ways if _is_covered(snapshot, AtEgress(world, name), f)}


def _for_internet(
    snapshot: Snapshot, world: World, families: Collection[Family]
) -> frozenset[Family]:
    """Return those of `families` that have a rule for more than private networks."""
    try:
        names = uplinks(snapshot)
    except ReadError:
        return frozenset()
    return frozenset(
        family
        for family, name in names
        if family in families and _is_covered(snapshot, AtEgress(world, name), family)
    )


def translates_at(snapshot: Snapshot, family: Family, interface: str) -> bool:
    """Return whether a rule may translate the source of packets that leave by an interface."""
    with contextlib.closing(World(snapshot)) as world:
        return _is_covered(snapshot, AtEgress(world, interface), family)


def _is_covered(snapshot: Snapshot, world: AtEgress, family: Family) -> bool:
    """Return whether a rule may translate the source of packets that leave there."""
    for ruleset in rulesets(snapshot):
        for conditions in ruleset.facts.preconditions if ruleset.facts else ():
            if not conditions.sources[family]:
                continue
            failing = matchability.judge(conditions, world, sources=True)
            lost = sum(not r.cause.changes and family in r.rule.families for r in failing)
            if conditions.sources[family] > lost:
                return True
    return False


def _missing(snapshot: Snapshot) -> Iterator[tuple[Backend, str, Family, int]]:
    """Yield the addresses that rules give outgoing packets and that no host has."""
    known = ownership(snapshot.host)
    for ruleset in rulesets(snapshot):
        for conditions in ruleset.facts.preconditions if ruleset.facts else ():
            for target in dict.fromkeys(rule.target for rule in conditions.rules if rule.target):
                key = target.family, target.numbers[0]
                with contextlib.suppress(ReadError):
                    if known.is_missing(snapshot, key):
                        yield ruleset.backend, conditions.table, *key


def _sources(
    found: Iterable[Ruleset], failing: Iterable[Unmatchable]
) -> tuple[tuple[Family, int], ...]:
    """Return the sources that may be translated; none of a family that could not be read."""
    there: Counter[Family] = Counter()
    unread: set[Family] = set()
    for ruleset in found:
        if ruleset.facts is None:
            unread.update(ruleset.families)
            continue
        for conditions in ruleset.facts.preconditions:
            there.update(conditions.sources)
    lost: Counter[Family] = Counter()
    for each in failing:
        # A set that empties by itself, and is filled again, proves nothing now.
        if each.rule.is_source and not each.cause.changes:
            lost.update(each.rule.families)
    return tuple((f, there[f] - lost[f]) for f in Family if there[f] and f not in unread)
