"""The verdict maps of nftables: to which chains their elements lead.

kube-proxy has a map without a name of its own for each service: thousands, each of which the
kernel looks up by walking all of them. Such a map cannot change while it is there, so it is read
once in its life.

Source: include/uapi/linux/netfilter/nf_tables.h (v6.18); nf_tables_newsetelem() refuses elements
for a map that is bound and constant, nf_tables_unbind_set() takes an anonymous one away with its
rule (net/netfilter/nf_tables_api.c). Handles are since v4.16: before it, every map is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from netfilter_exporter.kernel.netlink import (
    Connection,
    attribute_map,
    attributes,
    be32,
    nfgenmsg,
    nfnetlink_map,
    nfnetlink_places,
    pack,
    text,
)
from netfilter_exporter.kernel.nft_expressions import parse_verdict
from netfilter_exporter.kernel.shapes import Parsed, Shapes, unpacker

NFNL_SUBSYS_NFTABLES = 10
NFT_MSG_GETSET = NFNL_SUBSYS_NFTABLES << 8 | 10
NFT_MSG_GETSETELEM = NFNL_SUBSYS_NFTABLES << 8 | 13

NFTA_SET_TABLE = 1
NFTA_SET_NAME = 2
NFTA_SET_FLAGS = 3
NFTA_SET_HANDLE = 16
NFT_SET_ANONYMOUS, NFT_SET_CONSTANT = 0x1, 0x2
NFTA_SET_ELEM_LIST_TABLE = 1
NFTA_SET_ELEM_LIST_SET = 2
NFTA_SET_ELEM_LIST_ELEMENTS = 3
NFTA_SET_ELEM_DATA = 2

TableKey = tuple[int, str]  #: nfproto and name
MapKey = tuple[TableKey, str]  #: table and name
Targets = tuple[str, ...]  #: the chains that a map leads to


class ParsedSet(NamedTuple):
    key: MapKey
    fixed: bool  #: it cannot change while a rule uses it
    handle: int  #: of its table alone; 0: this kernel has none


class Maps:
    """Reads maps, and remembers those that cannot change; for one life of nf_tables."""

    def __init__(self) -> None:
        self._known: dict[tuple[MapKey, int, int], Targets] = {}

    def read(
        self, connection: Connection, used: Iterable[MapKey], tables: Mapping[TableKey, int]
    ) -> dict[MapKey, Targets]:
        """Return where the maps that rules use lead; `tables` are the handles of the tables."""
        wanted = set(used)
        if not wanted:
            self._known = {}
            return {}
        everything = nfgenmsg(0)
        sets = connection.dump("nftables GETSET", NFT_MSG_GETSET, everything, Shapes(parse_set))
        lives = {
            each.key: (each.key, tables[each.key[0]], each.handle)
            for each in sets
            if each.fixed and each.handle and tables.get(each.key[0])
        }
        before, self._known = self._known, {}
        found = {}
        for key in wanted:
            life = lives.get(key)
            targets = before.get(life) if life else None
            if targets is None:
                targets = _read_targets(connection, key)
            if life:
                self._known[life] = targets
            found[key] = targets
        return found


def _read_targets(connection: Connection, key: MapKey) -> Targets:
    (family, table), name = key
    request = (
        nfgenmsg(family)
        + pack(NFTA_SET_ELEM_LIST_TABLE, table.encode() + b"\0")
        + pack(NFTA_SET_ELEM_LIST_SET, name.encode() + b"\0")
    )
    found = connection.dump("nftables GETSETELEM", NFT_MSG_GETSETELEM, request, parse_elements)
    return tuple(dict.fromkeys(chain for chains in found for chain in chains))


def parse_set(payload: memoryview) -> Parsed[ParsedSet]:
    """Parse an NFT_MSG_NEWSET; sets of one shape differ in name and handle."""
    found, places = nfnetlink_map(payload), nfnetlink_places(payload)
    table = payload[0], text(found[NFTA_SET_TABLE])
    flags = be32(found[NFTA_SET_FLAGS]) if NFTA_SET_FLAGS in found else 0
    both = NFT_SET_ANONYMOUS | NFT_SET_CONSTANT
    fixed = flags & both == both
    text(found[NFTA_SET_NAME])  # it has one
    name_of, handle_of = (
        unpacker(len(payload), [places[type_]] if type_ in places else [])
        for type_ in (NFTA_SET_NAME, NFTA_SET_HANDLE)
    )

    def make(message: memoryview) -> ParsedSet:
        number = int.from_bytes(b"".join(handle_of(message)), "big")
        return ParsedSet((table, text(name_of(message)[0])), fixed, number)

    read = {NFTA_SET_TABLE, NFTA_SET_FLAGS}
    return Parsed(make, [place for type_, place in places.items() if type_ not in read])


def parse_elements(payload: memoryview) -> Targets:
    """Return the chains named by the verdicts in an NFT_MSG_NEWSETELEM."""
    found = nfnetlink_map(payload)
    chains = []
    for _, element in attributes(found.get(NFTA_SET_ELEM_LIST_ELEMENTS, memoryview(b""))):
        data = attribute_map(element).get(NFTA_SET_ELEM_DATA)
        if data is not None:
            chains.append(parse_verdict(data)[1])
    return tuple(chain for chain in chains if chain)
