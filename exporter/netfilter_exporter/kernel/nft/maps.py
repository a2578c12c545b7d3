"""The verdict maps of nftables: to which chains their elements lead.

kube-proxy has an anonymous map for each service: thousands, each of which the
kernel looks up by walking all of them. Such a map cannot change while the rule that uses it
exists, so it is read once in the life of that rule.

Source: include/uapi/linux/netfilter/nf_tables.h (v6.18); nf_tables_newsetelem() refuses elements
for a map that is bound and constant, nf_tables_bind_set() a second rule for an anonymous one,
nf_tables_unbind_set() takes it away with its rule, and nf_tables_newrule() gives no handle twice,
not to the successor of a replaced rule either (net/netfilter/nf_tables_api.c). Handles of tables
are since v4.16: before it, every map is read again.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping
from typing import Callable, NamedTuple, Optional

from netfilter_exporter.kernel.names import Names
from netfilter_exporter.kernel.netlink.attributes import (
    attribute_places,
    attributes,
    be32,
    find_attribute,
    pack_name,
    text,
)
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import (
    NFGENMSG,
    nfgenmsg,
    nfnetlink_map,
    nfnetlink_places,
)
from netfilter_exporter.kernel.nft.uapi import (
    NFT_MSG_GETSET,
    NFT_MSG_GETSETELEM,
    NFT_SET_ANONYMOUS,
    NFT_SET_CONSTANT,
    NFT_SET_TIMEOUT,
    NFTA_DATA_VERDICT,
    NFTA_SET_ELEM_DATA,
    NFTA_SET_ELEM_LIST_ELEMENTS,
    NFTA_SET_ELEM_LIST_SET,
    NFTA_SET_ELEM_LIST_TABLE,
    NFTA_SET_FLAGS,
    NFTA_SET_NAME,
    NFTA_SET_TABLE,
    NFTA_VERDICT_CHAIN,
)
from netfilter_exporter.kernel.nft.verdicts import parse_verdict
from netfilter_exporter.kernel.parser_cache import Parsed, parser_cache, unpacker
from netfilter_exporter.rules.model import Chain

TableKey = tuple[int, str]  #: nfproto and name
MapKey = tuple[TableKey, str]  #: table and name
Targets = tuple[str, ...]  #: the chains that a map leads to
#: Table, handle, name, the number of its rules and of what leads to it, and more of a base chain,
#: None for a user chain: plain, there are many.
ParsedChain = tuple[TableKey, bytes, str, bytes, Optional[Chain]]


class Use(NamedTuple):
    """A rule that looks into a map."""

    table: TableKey
    rule: int  #: its handle
    map: str  #: its name
    family_at: int | None = None  #: where its key says which family the packet has


class ParsedSet(NamedTuple):
    key: MapKey
    fixed: bool  #: it cannot change while a rule uses it
    expires: bool  #: elements may go by themselves


class _Known(NamedTuple):
    """What is remembered of a map while a rule uses it."""

    expires: bool
    handles: tuple[bytes, ...] | None  #: of the chains that it leads to; None: they may change


class Maps:
    """Remembers where maps lead that cannot change; for one life of nf_tables.

    An element leads to a chain, not to a name: what is remembered are the handles of chains.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, Use], _Known] = {}  #: by handle of the table

    def begin(
        self,
        connection: Connection,
        tables: Mapping[TableKey, int],
        chains: Callable[[], Iterable[ParsedChain]],
        names: Names,
    ) -> MapReading:
        """Return what reads the maps of one reading of the ruleset.

        `tables` are the handles of the tables, `chains` returns all chains, and `names` are those
        of this reading.
        """
        return MapReading(self._known, connection, tables, chains, names)

    def end(self, reading: MapReading) -> None:
        """Remember the maps of a reading, and no others."""
        self._known = reading.known


class MapReading:
    """Reads the maps that rules use."""

    def __init__(
        self,
        remembered: Mapping[tuple[int, Use], _Known],
        connection: Connection,
        tables: Mapping[TableKey, int],
        chains: Callable[[], Iterable[ParsedChain]],
        names: Names,
    ) -> None:
        self.found: dict[MapKey, Targets] = {}
        self.known: dict[tuple[int, Use], _Known] = {}  #: of tables that have a handle
        self.lasting = True  #: all that was found lasts while no rule changes
        self._remembered = remembered
        self._connection = connection
        self._tables = tables
        self._chains = chains
        self._parse = parser_cache(functools.partial(parse_element, names=names))

    def follow(self, uses: Iterable[Use]) -> list[str]:
        """Return the chains that the maps of these rules lead to."""
        found: list[str] = []
        for use in uses:
            key = use.table, use.map
            life = self._tables.get(use.table, 0), use
            remembered = self._remembered.get(life)
            listed = None if remembered else self._sets.get(key)
            targets = self.found.get(key)
            if targets is None:
                targets = self.found[key] = self._targets(key, remembered)
            known = remembered or self._new(key[0], targets, listed)
            if known.expires:
                self.lasting = False
            if life[0]:
                self.known[life] = known
            found += targets
        return found

    def _targets(self, key: MapKey, remembered: _Known | None) -> Targets:
        if remembered is None or remembered.handles is None:
            return read_targets(self._connection, key, self._parse)
        return tuple(self._name_of[key[0], handle] for handle in remembered.handles)

    def _new(self, table: TableKey, targets: Targets, one: ParsedSet | None) -> _Known:
        handle_of = self._handles.get
        handles = [handle_of((table, name), b"") for name in targets]
        fixed = one is not None and one.fixed and all(handles)
        return _Known(one is None or one.expires, tuple(handles) if fixed else None)

    @functools.cached_property
    def _sets(self) -> Mapping[MapKey, ParsedSet]:
        return _read_sets(self._connection)

    @functools.cached_property
    def _name_of(self) -> Mapping[tuple[TableKey, bytes], str]:
        return {(table, handle): name for table, handle, name, *_ in self._chains()}

    @functools.cached_property
    def _handles(self) -> Mapping[tuple[TableKey, str], bytes]:
        return {(table, name): handle for (table, handle), name in self._name_of.items()}


def _read_sets(connection: Connection) -> dict[MapKey, ParsedSet]:
    sets = connection.dump("nftables GETSET", NFT_MSG_GETSET, nfgenmsg(0), parser_cache(parse_set))
    return {each.key: each for each in sets}


@functools.lru_cache(maxsize=16)
def _of_table(table: TableKey) -> bytes:
    """Return how requests for the elements of a table's sets begin: there are thousands."""
    return nfgenmsg(table[0]) + pack_name(NFTA_SET_ELEM_LIST_TABLE, table[1])


def ask_set(connection: Connection, key: MapKey) -> memoryview:
    """Return the NFT_MSG_NEWSET of one set or map; `NetlinkError` with ENOENT: there is none."""
    (family, table), name = key
    request = nfgenmsg(family) + pack_name(NFTA_SET_TABLE, table) + pack_name(NFTA_SET_NAME, name)
    return connection.ask("nftables GETSET", NFT_MSG_GETSET, request)


def read_set(connection: Connection, key: MapKey) -> ParsedSet:
    """Return what is said of one set or map; raises as `ask_set` does."""
    answer = ask_set(connection, key)
    return parse_set(answer).make(answer)


def read_targets(
    connection: Connection, key: MapKey, parse: Callable[[memoryview], str]
) -> Targets:
    """Return the chains that the elements of a map lead to."""
    request = _of_table(key[0]) + pack_name(NFTA_SET_ELEM_LIST_SET, key[1])
    found = connection.dump(
        "nftables GETSETELEM",
        NFT_MSG_GETSETELEM,
        request,
        lambda message: [*map(parse, elements(message))],
    )
    return tuple(dict.fromkeys(filter(None, itertools.chain.from_iterable(found))))


def parse_set(payload: memoryview) -> Parsed[ParsedSet]:
    """Parse an NFT_MSG_NEWSET; sets of one shape differ in name."""
    found, places = nfnetlink_map(payload), nfnetlink_places(payload)
    table = payload[0], text(found[NFTA_SET_TABLE])
    flags = be32(found[NFTA_SET_FLAGS]) if NFTA_SET_FLAGS in found else 0
    both = NFT_SET_ANONYMOUS | NFT_SET_CONSTANT
    fixed = flags & both == both
    expires = bool(flags & NFT_SET_TIMEOUT)
    text(found[NFTA_SET_NAME])  # it has one
    name_of = unpacker(len(payload), [places[NFTA_SET_NAME]])
    read = {NFTA_SET_TABLE, NFTA_SET_FLAGS}
    return Parsed(
        lambda message: ParsedSet((table, text(name_of(message)[0])), fixed, expires),
        [place for type_, place in places.items() if type_ not in read],
    )


def elements(payload: memoryview) -> list[memoryview]:
    """Return the elements in an NFT_MSG_NEWSETELEM."""
    for type_, start, end in attribute_places(payload, NFGENMSG.size, len(payload)):
        if type_ == NFTA_SET_ELEM_LIST_ELEMENTS:
            return [element for _, element in attributes(payload[start:end])]
    return []


def parse_element(element: memoryview, names: Names | None = None) -> Parsed[str]:
    """Parse an element to the chain that its verdict names, or "" where there is none.

    `names` are those that were met in the same reading.
    """
    known = Names() if names is None else names
    places = {type_: slice(*place) for type_, *place in attribute_places(element, 0, len(element))}
    data = places.pop(NFTA_SET_ELEM_DATA, slice(0, 0))
    parse_verdict(element[data])  # it is one, or nothing
    chain = find_attribute(element, data.start, data.stop, (NFTA_DATA_VERDICT, NFTA_VERDICT_CHAIN))
    unpack = unpacker(len(element), chain)
    return Parsed(
        (lambda message: known[unpack(message)[0]]) if chain else (lambda _: ""),
        [*places.values(), *chain],
    )
