"""Reads the counters of nftables rules, and knows which counter is of which rule.

A reading of the ruleset says what the rule at each position of a chain does, in its generation.
Later generations are understood too, as long as the chains hold the same rules. A handle does not
prove that: the rule that replaces another has its handle [ran: 6.18]. So all but the counter of a
rule is compared.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from netfilter_exporter.hits.account import Changed, Reading, Readings
from netfilter_exporter.kernel.netlink.attributes import pack_name
from netfilter_exporter.kernel.netlink.connection import Connection, Interrupted
from netfilter_exporter.kernel.netlink.messages import NetlinkError, nfgenmsg
from netfilter_exporter.kernel.nft.counters import ChainCounters, ChainReader
from netfilter_exporter.kernel.nft.maps import TableKey
from netfilter_exporter.kernel.nft.tables import parse_table, read_generation
from netfilter_exporter.kernel.nft.uapi import NFT_MSG_GETTABLE, NFTA_TABLE_NAME
from netfilter_exporter.kernel.rulesets import Nftables
from netfilter_exporter.rules.counted import ChainPlace, CountedRule, CountedRules
from netfilter_exporter.rules.families import NFPROTO_OF

#: The handle of a table, and the rules of a chain but for their counters.
Layout = dict[ChainPlace, "tuple[int, Sequence[bytes]]"]


class _Known(NamedTuple):
    """Rules, and how their chains looked in the generation in which they were read."""

    rules: CountedRules
    layout: Layout


class _Lives(NamedTuple):
    """Handles of tables in a generation, 0 where that is unknown."""

    generation: int
    of: Mapping[TableKey, int]


class NftablesCounters:
    """Reads them again and again, in one life of nf_tables: in the next, generations repeat."""

    def __init__(self) -> None:
        self._known: _Known | None = None
        self._lives = _Lives(0, {})
        self._readers: dict[ChainPlace, ChainReader] = {}

    def read(self, connection: Connection, last: Nftables) -> Readings:
        """Return the counter of each rule that the `last` reading of the ruleset found.

        Raises `Changed` where the rules are others by now.
        """
        try:
            return self._read(connection, last)
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
            raise Changed("nftables counters: a table or chain was removed") from None
        except Interrupted as error:
            raise Changed(str(error)) from None

    def _read(self, connection: Connection, last: Nftables) -> Readings:
        wanted = last.facts.counted
        generation = read_generation(connection)
        lives = self._lives_of(connection, generation, {*map(_table, wanted.chains)})
        self._readers = {place: self._reader_of(place) for place in wanted.chains}
        found = {place: reader.read(connection) for place, reader in self._readers.items()}
        layout = {place: (lives[_table(place)], each.rules) for place, each in found.items()}
        same = read_generation(connection) == generation
        self._lives = _Lives(generation if same else 0, lives)
        if same and last.exact and generation == last.generation:
            self._known = _Known(wanted, layout)
        elif self._known != (wanted, layout):
            raise Changed("nftables counters: the rules changed since they were read")
        # Kernels before v4.16 give tables no handle, and a new table begins with the same handles.
        ages = {place: life or -generation for place, (life, _) in layout.items()}
        readings = [_reading(rule, found[rule.place], ages[rule.place]) for rule in wanted.rules]
        return Readings(readings, generation if same else None)

    def _reader_of(self, place: ChainPlace) -> ChainReader:
        return self._readers.get(place) or ChainReader(_table(place), place.chain)

    def _lives_of(
        self, connection: Connection, generation: int, tables: AbstractSet[TableKey]
    ) -> Mapping[TableKey, int]:
        """Return the handles of tables, which stay the same in one generation."""
        if self._lives.generation == generation and self._lives.of.keys() == tables:
            return self._lives.of
        return {key: _read_life(connection, key) for key in tables}


def _reading(rule: CountedRule, found: ChainCounters, age: int) -> Reading:
    """Return the counter of a rule; `age` is different in each life of its table."""
    packets = found.packets.get(rule.position)
    if packets is None:
        raise Changed("nftables counters: a rule is gone")
    return Reading(rule, (rule.place, age, found.rules[rule.position]), packets)


def _table(place: ChainPlace) -> TableKey:
    return NFPROTO_OF[place.families], place.table


def _read_life(connection: Connection, table: TableKey) -> int:
    """Return the handle of a table, which no later one has."""
    request = nfgenmsg(table[0]) + pack_name(NFTA_TABLE_NAME, table[1])
    return parse_table(connection.ask("nftables GETTABLE", NFT_MSG_GETTABLE, request)).handle
