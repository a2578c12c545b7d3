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
from collections.abc import Iterable, Iterator, Mapping
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
from netfilter_exporter.kernel.parser_cache import Parsed, ParserCache, unpacker
from netfilter_exporter.rules.model import Chain

TableKey = tuple[int, str]  #: nfproto and name
MapKey = tuple[TableKey, str]  #: table and name
Targets = tuple[str, ...]  #: the chains that a map leads to
#: Table, handle, name, and more of a base chain, None for a user chain: plain, there are many.
ParsedChain = tuple[TableKey, bytes, str, Optional[Chain]]


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
    """Reads maps, and remembers those that cannot change; for one life of nf_tables.

    An element leads to a chain, not to a name: what is remembered are the handles of chains.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, Use], _Known] = {}  #: by handle of the table

    def read(
        self,
        connection: Connection,
        uses: Iterable[Use],
        tables: Mapping[TableKey, int],
        chains: Iterable[ParsedChain],
        names: Names,
    ) -> tuple[dict[MapKey, Targets], bool]:
        """Return where the maps that rules use lead, and whether that lasts while no rule changes.

        `tables` are the handles of the tables, `chains` all chains, `names` those of this reading.
        """
        lives = {(tables.get(use.table, 0), use): (use.table, use.map) for use in uses}
        name_of = {(table, handle): name for table, handle, name, _ in chains}
        parse = ParserCache(functools.partial(parse_element, names=names))
        found: dict[MapKey, Targets] = {}
        known = self._known
        new = [life for life in lives if life not in known]
        if new:
            sets = _read_sets(connection)
            handles = {(table, name): handle for (table, handle), name in name_of.items()}
        for life in new:
            key = lives[life]
            one = sets.get(key)
            if key not in found:
                found[key] = _read_targets(connection, key, parse)
            of_key = tuple(handles.get((key[0], name), b"") for name in found[key])
            fixed = one is not None and one.fixed and all(of_key)
            known[life] = _Known(one is None or one.expires, of_key if fixed else None)
        for life, key in lives.items():
            if key not in found:
                remembered = known[life].handles
                found[key] = (
                    _read_targets(connection, key, parse)
                    if remembered is None
                    else tuple(name_of[key[0], handle] for handle in remembered)
                )
        lasting = not any(known[life].expires for life in lives)
        self._known = {life: known[life] for life in lives if life[0]}
        return found, lasting


def _read_sets(connection: Connection) -> dict[MapKey, ParsedSet]:
    sets = connection.dump("nftables GETSET", NFT_MSG_GETSET, nfgenmsg(0), ParserCache(parse_set))
    return {each.key: each for each in sets}


def _read_targets(
    connection: Connection, key: MapKey, parse: Callable[[memoryview], str]
) -> Targets:
    (family, table), name = key
    request = (
        nfgenmsg(family)
        + pack_name(NFTA_SET_ELEM_LIST_TABLE, table)
        + pack_name(NFTA_SET_ELEM_LIST_SET, name)
    )
    found = connection.dump(
        "nftables GETSETELEM",
        NFT_MSG_GETSETELEM,
        request,
        lambda message: [parse(element) for element in elements(message)],
    )
    return tuple(dict.fromkeys(chain for chains in found for chain in chains if chain))


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


def elements(payload: memoryview) -> Iterator[memoryview]:
    """Yield the elements in an NFT_MSG_NEWSETELEM."""
    for type_, start, end in attribute_places(payload, NFGENMSG.size, len(payload)):
        if type_ == NFTA_SET_ELEM_LIST_ELEMENTS:
            return (element for _, element in attributes(payload[start:end]))
    return iter(())


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
