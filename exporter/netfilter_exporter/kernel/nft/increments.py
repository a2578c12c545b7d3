"""A reading of the nftables ruleset that is kept, and read again only where it has changed.

What is read of a chain or a map holds until a message says that it changed. A commit between two
dumps interrupts neither, so what was read holds together only if the generation is the same before
and behind all of it, and every message up to that generation was taken before.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Iterable
from typing import Callable

from netfilter_exporter.kernel.netlink.attributes import text
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NetlinkError, nfnetlink_map
from netfilter_exporter.kernel.nft.chains import parse_chain
from netfilter_exporter.kernel.nft.changes import Change, Listener, Lost
from netfilter_exporter.kernel.nft.map_families import MapFamilies, family_place, read_families
from netfilter_exporter.kernel.nft.maps import (
    MapKey,
    TableKey,
    Targets,
    parse_element,
    read_set,
    read_targets,
)
from netfilter_exporter.kernel.nft.tables import (
    Basis,
    Reading,
    are_of_interest,
    build,
    list_tables,
    read_generation,
)
from netfilter_exporter.kernel.nft.uapi import (
    NFT_MSG_DELCHAIN,
    NFT_MSG_DELFLOWTABLE,
    NFT_MSG_DELOBJ,
    NFT_MSG_DELRULE,
    NFT_MSG_DELSET,
    NFT_MSG_DELSETELEM,
    NFT_MSG_DELTABLE,
    NFT_MSG_NEWCHAIN,
    NFT_MSG_NEWFLOWTABLE,
    NFT_MSG_NEWOBJ,
    NFT_MSG_NEWRULE,
    NFT_MSG_NEWSET,
    NFT_MSG_NEWSETELEM,
    NFT_MSG_NEWTABLE,
    NFTA_CHAIN_NAME,
    NFTA_RULE_CHAIN,
    NFTA_SET_NAME,
    NFTA_TABLE_NAME,
)
from netfilter_exporter.kernel.parser_cache import parser_cache
from netfilter_exporter.rules.families import FAMILIES_OF, NFPROTO_OF
from netfilter_exporter.rules.model import Chain, Rule, Table

#: Looks at a ruleset that changes during each of them.
_LOOKS = 8
#: Changed chains above which it costs less to read all.
_MOST_CHAINS = 256
#: Rules that are read, besides as many as there are, before all is read: only then names that are
#: gone are forgotten.
_LEEWAY = 1000

_OF_RULES = {NFT_MSG_NEWRULE: 1, NFT_MSG_DELRULE: -1}
_OF_SETS = {NFT_MSG_NEWSET, NFT_MSG_DELSET, NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM}
_IGNORED = {NFT_MSG_NEWOBJ, NFT_MSG_DELOBJ, NFT_MSG_NEWFLOWTABLE, NFT_MSG_DELFLOWTABLE}

ChainKey = tuple[TableKey, str]  #: table and name


class NoFilter(Lost):
    """This kernel lists no single chain."""


class Increments:
    """The tables of a reading, kept with what listens to their changes.

    What raises `ReadError`, as `Lost` where all has to be read, leaves it without further use.
    """

    def __init__(self, reading: Reading, basis: Basis, listener: Listener) -> None:
        """`reading` is of the generation that `listener` begins with."""
        self._listener = listener
        self._reader, newest = basis
        self.rules = reading.rules
        self._left = self.rules + _LEEWAY
        self._tables = reading.tables
        self._newest = dict(newest)
        self._chains: dict[TableKey, dict[str, Chain]] = {}
        self._maps: dict[MapKey, Targets] = {}
        self._families: dict[MapKey, MapFamilies] = {}
        for table in reading.tables:
            key = NFPROTO_OF[table.families], table.name
            self._chains[key] = dict(table.chains)
            self._maps.update({(key, name): to for name, to in table.maps.items()})
            self._families.update({(key, name): of for name, of in table.map_families.items()})
        self._read = {key for key, chains in self._chains.items() if are_of_interest(chains)}
        #: Tables of which all rules are in these messages: so far they have no chain.
        self._new = self._chains.keys() - self._newest.keys()
        self._changed: set[ChainKey] = set()  #: chains to read
        self._used = self._find_used()

    def close(self) -> None:
        self._listener.close()

    def read(self, connection: Connection, gate: Callable[[], None]) -> Reading:
        """Return the ruleset as it is now, in the same list where packets meet what they met.

        `connection` is not hasty; `gate` raises where asking may load a module.
        """
        self._reader.connection = connection
        for _ in range(_LOOKS):
            gate()
            generation = read_generation(connection)
            for change in self._listener.take(generation):
                self._note(change)
            found = self._find(connection, generation)
            asked_at = connection.now()
            if found is not None and read_generation(connection) == generation:
                if found != self._tables:
                    self._tables = found
                return Reading(generation, self._tables, True, asked_at, True, self.rules)
        raise Lost(f"nftables: the ruleset changed during each of {_LOOKS} increments")

    # -- what messages say -----------------------------------------------------------------------

    def _note(self, change: Change) -> None:
        """Take in a message, of those that a commit sends in their order."""
        type_, payload = change
        found = nfnetlink_map(payload)
        self.rules += _OF_RULES.get(type_, 0)
        if payload[0] not in FAMILIES_OF or type_ in _IGNORED:
            return
        key = payload[0], text(found[NFTA_TABLE_NAME])  # all have it as the same attribute
        if type_ == NFT_MSG_NEWTABLE:
            if key not in self._chains:
                self._chains[key] = {}
                self._new.add(key)
        elif key not in self._chains:
            raise Lost(f"nftables: a change in an unknown table, {key[1]}")
        elif type_ == NFT_MSG_DELTABLE:
            self._forget(key)
        elif type_ == NFT_MSG_NEWCHAIN:
            self._note_chain(key, payload)
        elif type_ == NFT_MSG_DELCHAIN:
            name = text(found[NFTA_CHAIN_NAME])
            self._chains[key].pop(name, None)
            self._changed.discard((key, name))
        elif type_ in _OF_RULES:
            self._changed.add((key, text(found[NFTA_RULE_CHAIN])))
        elif type_ in _OF_SETS:
            self._maps.pop((key, text(found[NFTA_SET_NAME])), None)
        else:
            raise Lost(f"nftables: a change of an unknown kind, {type_ & 0xFF}")

    def _note_chain(self, key: TableKey, payload: memoryview) -> None:
        """A chain is new, or a base chain has another policy.

        A chain of another name is neither, and rules that lead to it are in no message.
        """
        _, handle, name, _, base = parse_chain(payload).make(payload)
        before = self._chains[key].get(name)
        if handle > self._newest.get(key, b""):
            self._newest[key] = handle
            if base:
                self._chains[key][name] = base
        elif base and before and before.type:
            self._chains[key][name] = base._replace(rules=before.rules, values=before.values)
        else:
            raise Lost(f"nftables: a chain was renamed to {name}")

    def _forget(self, table: TableKey) -> None:
        """A table is gone."""
        del self._chains[table]
        self._newest.pop(table, None)
        self._read.discard(table)
        self._changed = {key for key in self._changed if key[0] != table}
        self._maps = {key: to for key, to in self._maps.items() if key[0] != table}

    # -- what is read ----------------------------------------------------------------------------

    def _find(self, connection: Connection, generation: int) -> list[Table] | None:
        """Return all tables; None where a map went meanwhile with the rule that named it."""
        try:
            return self._look(connection)
        except NetlinkError as error:
            if error.errno != errno.ENOENT or read_generation(connection) == generation:
                raise
            return None

    def _look(self, connection: Connection) -> list[Table]:
        tables = list_tables(connection)
        if not all(table.lasting for table in tables):
            raise Lost("nftables: a table that goes with its owner, which is in no message")
        self._choose_tables()
        if len(self._changed) > _MOST_CHAINS:
            raise Lost(f"nftables: {len(self._changed)} chains have changed")
        asked: set[ChainKey] = set()
        while True:
            while self._changed:
                self._read_chain(self._changed.pop(), asked)
            self._read_maps(connection, asked)
            if not self._changed:
                break
        chains = {key: dict(of_table) for key, of_table in self._chains.items()}
        return build(tables, chains, self._maps, self._families)

    def _choose_tables(self) -> None:
        """Find out of which tables rules are read."""
        for key, chains in self._chains.items():
            if are_of_interest(chains) != (key in self._read):
                if key not in self._new:
                    raise Lost(f"nftables: another kind of base chains in the table {key[1]}")
                self._read.add(key)
        self._new -= self._read | {table for table, _ in self._changed}
        self._changed = {key for key in self._changed if key[0] in self._read}

    def _read_chain(self, key: ChainKey, asked: set[ChainKey]) -> None:
        table, name = key
        chains = self._chains[table]
        before = chains.get(name)
        bases = {name: before._replace(rules=[], values=b"")} if before and before.type else {}
        found = self._reader.read(table, bases, name).chains
        if found.keys() - {name}:
            raise NoFilter("nftables: this kernel lists no single chain")
        asked.add(key)
        chain = found.get(name)
        if chain is None:
            chains.pop(name, None)
        elif chain != before:
            chains[name] = chain
        rules = chain.rules if chain else []
        self._left -= 1 + len(rules)
        if self._left < 0:
            raise Lost("nftables: as many rules have changed as there are")
        self._follow(table, (target for rule in rules for target in rule.targets), asked)

    def _follow(self, table: TableKey, targets: Iterable[str], asked: set[ChainKey]) -> None:
        """Read also the chains that nothing led to before: of a large table only the others are."""
        known = self._chains[table]
        new = ((table, target) for target in targets if target not in known)
        self._changed.update(key for key in new if key not in asked)

    def _read_maps(self, connection: Connection, asked: set[ChainKey]) -> None:
        """Read the maps that rules use and that have changed; forget those that none uses."""
        used = self._find_used()
        for key, at in used.items():
            if key not in self._maps or self._used.get(key) != at:
                if read_set(connection, key).expires:
                    raise Lost("nftables: a map whose elements expire, which is in no message")
                if at is not None:
                    self._families[key] = read_families(connection, key, at)
                parse = parser_cache(functools.partial(parse_element, names=self._reader.names))
                self._maps[key] = read_targets(connection, key, parse)
                self._follow(key[0], self._maps[key], asked)
        self._used = used
        self._maps = {key: self._maps[key] for key in used}
        self._families = {key: self._families[key] for key, at in used.items() if at is not None}

    def _find_used(self) -> dict[MapKey, int | None]:
        """Return the maps that rules use, with where their keys have the family: see `Use`."""
        place_of: dict[int, int | None] = {}
        used: dict[MapKey, int | None] = {}
        for table, rule in self._rules_with_maps():
            form = id(rule.form)
            if form not in place_of:
                place_of[form] = family_place(rule.form)
            for name in rule.maps:
                at = place_of[form]
                used[table, name] = used.get((table, name)) if at is None else at
        return used

    def _rules_with_maps(self) -> list[tuple[TableKey, Rule]]:
        return [
            (key, rule)
            for key in self._read
            for chain in self._chains[key].values()
            for rule in chain.rules
            if rule.maps
        ]
