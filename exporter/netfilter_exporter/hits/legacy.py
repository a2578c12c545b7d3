"""Reads the counters of the rules of a legacy table.

A legacy rule has no handle. It is known by its chain and its entry, and identical ones by their
order: iptables-legacy replaces the whole table for each change, and carries the counters over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from netfilter_exporter.hits.account import Changed, Reading, Readings
from netfilter_exporter.kernel.xtables.counters import CounterReader
from netfilter_exporter.kernel.xtables.tables import read_entries
from netfilter_exporter.kernel.xtables.transport import Xtables
from netfilter_exporter.rules.counted import CountedRule


def read(xtables: Xtables, counters: CounterReader, rules: Sequence[CountedRule]) -> Readings:
    """Return the counter of each of `rules`; raises `Changed` where the table is another."""
    info, entries = read_entries(xtables, "nat")
    if info != counters.info or not counters.recognises(entries):
        raise Changed("legacy counters: the table changed since it was read")
    found = counters.read(entries, [(rule.place.chain, rule.position) for rule in rules])
    same: Counter[tuple[str, bytes]] = Counter()
    readings = []
    for rule, counter in zip(rules, found):
        key = rule.place.chain, counter.content
        readings.append(Reading(rule, (*key, same[key]), counter.packets))
        same[key] += 1
    return Readings(readings)
