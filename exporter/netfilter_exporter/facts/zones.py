"""Facts about flows whose replies are looked up in another conntrack zone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from netfilter_exporter.facts.egress import Way, ways_out, ways_to_neighbors
from netfilter_exporter.facts.forwarding import interfaces
from netfilter_exporter.facts.matchability import translates_at, unmatched
from netfilter_exporter.facts.rulesets import rulesets
from netfilter_exporter.facts.snapshot import Snapshot, fact
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.incoming import Incoming
from netfilter_exporter.rules.model import Table
from netfilter_exporter.rules.zones import Zoned, ZoneRule, zoned


class SplitZone(NamedTuple):
    """A private network, and the way out of its packets: one of the two is in a zone."""

    family: Family
    interface: str  #: towards the network
    egress: str
    zoned: str  #: which of both is
    backend: Backend
    families: frozenset[Family]  #: of the table of the rule that gives it
    table: str
    chain: str
    position: int  #: counted from 1


@fact
def split_zones(snapshot: Snapshot) -> tuple[SplitZone, ...]:
    """The private networks whose translated flows cannot get a reply, because of a zone.

    Judged where a rule may translate their sources, and where all that arrives at one interface
    surely gets a zone in both directions and nothing that arrives at the other does.
    """
    tables = [
        table
        for ruleset in rulesets(snapshot)
        if ruleset.facts is not None
        for table in ruleset.facts.zoning
    ]
    families = {family for family, count in unmatched(snapshot).sources if count} if tables else ()
    if not families:
        return ()
    try:
        ways = *ways_out(snapshot, families), *ways_to_neighbors(snapshot, families)
        found = [_split(snapshot, way, tables) for way in dict.fromkeys(ways)]
    except ReadError:
        return ()
    splits = dict.fromkeys(split for split in found if split)
    return tuple(s for s in splits if translates_at(snapshot, s.family, s.egress))


def _split(snapshot: Snapshot, way: Way, tables: Sequence[Table]) -> SplitZone | None:
    """Return how a way is split: the zone of one end holds at none of the other's interfaces."""
    inside, by = _zoned(snapshot, way.family, way.arriving, tables)
    outside = [_zoned(snapshot, way.family, name, tables) for name in way.out]
    if inside is Zoned.ALL and by and all(each is Zoned.NONE for each, _ in outside):
        return _found(way, way.arriving, by)
    if inside is Zoned.NONE and all(each is Zoned.ALL for each, _ in outside) and outside[0][1]:
        return _found(way, way.out[0], outside[0][1])
    return None


def _found(way: Way, zoned_interface: str, by: ZoneRule) -> SplitZone:
    table = by.table
    place = table.backend, table.families, table.name, by.chain, by.position
    return SplitZone(way.family, way.arriving, way.out[0], zoned_interface, *place)


def _zoned(
    snapshot: Snapshot, family: Family, name: str, tables: Sequence[Table]
) -> tuple[Zoned, ZoneRule | None]:
    return zoned(tables, Incoming(family, name, interfaces(snapshot).get(name, 0)))
