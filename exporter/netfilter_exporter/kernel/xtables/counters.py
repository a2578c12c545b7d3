"""The counters of the rules of a legacy table, read without parsing the rules again.

Source: struct xt_counters in include/uapi/linux/netfilter/x_tables.h. IPT_SO_GET_ENTRIES hands out
each entry with the sum over all CPUs: get_counters in net/ipv4/netfilter/ip_tables.c (v6.18).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Callable, NamedTuple

from netfilter_exporter.kernel.xtables.entry import LAYOUTS
from netfilter_exporter.kernel.xtables.tables import Info, chains_of, recogniser
from netfilter_exporter.rules.families import Family

_COUNTERS = struct.Struct("=QQ")  # struct xt_counters: packets, bytes


class EntryCounter(NamedTuple):
    """The counter of a rule, and all of its entry that the rule is known by."""

    content: bytes
    packets: int


class CounterReader:
    """Finds counters in the entries of one state of a table."""

    def __init__(self, entries: memoryview, info: Info, family: Family) -> None:
        self.info = info
        self.recognises: Callable[[memoryview], bool] = recogniser(entries, family)
        self._layout = LAYOUTS[family]
        self._places = chains_of(entries, info, family)

    def read(self, entries: memoryview, positions: Iterable[tuple[str, int]]) -> list[EntryCounter]:
        """Return the counters of rules at `positions` in entries that `recognises` knows."""
        return [self._read(entries, *self._places[chain][at]) for chain, at in positions]

    def _read(self, entries: memoryview, start: int, end: int) -> EntryCounter:
        layout = self._layout
        packets, _ = _COUNTERS.unpack_from(entries, start + layout.counters)
        entry = entries[start:end]
        # In between are nfcache, comefrom and the counters, which are the kernel's own.
        parts = (
            entry[: layout.header],
            entry[layout.offsets : layout.offsets + 4],
            entry[layout.size :],
        )
        return EntryCounter(b"".join(parts), int(packets))
