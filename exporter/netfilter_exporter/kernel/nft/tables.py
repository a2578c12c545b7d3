"""The nftables ruleset over netlink: tables, chains, rules, and the maps that lead to chains.

Source: include/uapi/linux/netfilter/nf_tables.h (v6.18). Asking loads nf_tables where that is a
module: pass the gate first. Needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import errno
import functools
from collections.abc import Iterable, Mapping
from typing import Callable, NamedTuple

from netfilter_exporter.kernel.errors import NoData, ReadError
from netfilter_exporter.kernel.names import Names
from netfilter_exporter.kernel.netlink.attributes import be32, text
from netfilter_exporter.kernel.netlink.connection import Connection, Interrupted
from netfilter_exporter.kernel.netlink.messages import (
    NetlinkError,
    nfgenmsg,
    nfnetlink_map,
)
from netfilter_exporter.kernel.nft.chains import parse_chain, parse_use
from netfilter_exporter.kernel.nft.map_families import MapFamilies, read_families
from netfilter_exporter.kernel.nft.maps import (
    MapKey,
    Maps,
    ParsedChain,
    TableKey,
    Targets,
    Use,
)
from netfilter_exporter.kernel.nft.reached import MANY, ChainReader, read_reached
from netfilter_exporter.kernel.nft.rules import RuleReader
from netfilter_exporter.kernel.nft.uapi import (
    NFT_MSG_GETCHAIN,
    NFT_MSG_GETGEN,
    NFT_MSG_GETTABLE,
    NFT_TABLE_F_DORMANT,
    NFT_TABLE_F_OWNER,
    NFT_TABLE_F_PERSIST,
    NFTA_GEN_ID,
    NFTA_TABLE_FLAGS,
    NFTA_TABLE_HANDLE,
    NFTA_TABLE_NAME,
)
from netfilter_exporter.kernel.parser_cache import parser_cache
from netfilter_exporter.rules.families import FAMILIES_OF, NFPROTO_UNSPEC, Backend
from netfilter_exporter.rules.model import Chain, Table

#: Readings that are given up at the first change of the ruleset.
_HASTY_ATTEMPTS = 2
#: Looks at a ruleset that has changed during all of them.
_LOOKS = 8


class ParsedTable(NamedTuple):
    key: TableKey
    dormant: bool
    handle: int  #: of one life of the table; 0: this kernel has none
    lasting: bool  #: it does not go with the process that owns it, which adds no generation


class Basis(NamedTuple):
    """What a reading in increments goes on from, besides the tables."""

    reader: RuleReader
    newest: Mapping[TableKey, bytes]  #: the handle of the newest chain of each table


class Reading(NamedTuple):
    """The tables that an IPv4 or IPv6 packet can meet, of one generation."""

    generation: int
    tables: list[Table]
    lasting: bool  #: all of it is the same as long as the generation is
    current_at: float  #: when this was the generation, on the connection's clock
    exact: bool  #: it is certain that no rule is of another generation
    rules: int = 0  #: of all tables, what leads to chains that are not read included
    basis: Basis | None = None  #: of one that is lasting and exact, of rules that are few enough


def read_generation(connection: Connection) -> int:
    """Return the generation of this namespace's ruleset; each committed batch adds one.

    Raises `NoData` where the kernel has no nf_tables, and so no ruleset: EINVAL says so.
    """
    try:
        answer = connection.ask("nftables GETGEN", NFT_MSG_GETGEN, nfgenmsg(NFPROTO_UNSPEC))
    except NetlinkError as error:
        if error.errno == errno.EINVAL:
            raise NoData("this kernel has no nf_tables") from None
        raise
    return be32(nfnetlink_map(answer)[NFTA_GEN_ID])


@dataclasses.dataclass(frozen=True)
class Found:
    """What one look at the whole ruleset found; two are equal if packets meet the same."""

    tables: list[Table]
    lasting: bool  #: it stays as it is while the generation does
    newest: Mapping[TableKey, bytes] = dataclasses.field(compare=False)  #: as in `Basis`
    rules: int = dataclasses.field(compare=False)  #: as in `Reading`


#: Returns a connection that is hasty, or not.
Connect = Callable[[bool], Connection]


def read_tables(
    connect: Connect,
    maps: Maps,
    gate: Callable[[], None] = lambda: None,
    few: int = 0,
    catch_up: Callable[[Connection], Reading | None] = lambda _: None,
) -> Reading:
    """Return the ruleset; of a table that says nothing about NAT or tracking, without the rules.

    A reading that a change spoils is begun again at once, when the next change may be far. If what
    changes is something else, as dnsmasq adds elements to a set, two in a row are the same. Else
    see `catch_up`, which may know a better way, and `_read_restless`. `gate` raises where asking
    may load a module by now: a large ruleset takes seconds. Of at most `few` rules it has a basis
    for increments.
    """
    before: Found | None = None
    for _ in range(_HASTY_ATTEMPTS):
        with contextlib.closing(connect(True)) as connection, contextlib.suppress(Interrupted):
            gate()
            generation = read_generation(connection)
            reader = RuleReader(connection)
            found = _found(connection, generation, reader, maps, gate)
            asked_at = connection.now()
            if found and (read_generation(connection) == generation or found == before):
                tables, lasting = found.tables, found.lasting
                kept = few and found.lasting and found.rules <= few
                basis = Basis(reader, found.newest) if kept else None
                return Reading(generation, tables, lasting, asked_at, True, found.rules, basis)
            before = found
    with contextlib.closing(connect(False)) as connection:
        return catch_up(connection) or _read_restless(connection, maps, gate)


def read_by_chain(
    connection: Connection, maps: Maps, gate: Callable[[], None], newest: Mapping[TableKey, bytes]
) -> Reading:
    """Return what one look finds: each chain is of one generation, all together of none.

    `newest` is as in `Basis`, from before the look.
    """
    rules = RuleReader(connection)
    found = _read_once(connection, ChainReader(rules), maps, gate)
    basis = Basis(rules, newest) if found.lasting else None
    return Reading(0, found.tables, found.lasting, connection.now(), False, found.rules, basis)


def read_newest(connection: Connection) -> Mapping[TableKey, bytes]:
    """Return the handle of the newest chain of each table."""
    return _newest(_list_chains(connection, Names()))


def _read_restless(connection: Connection, maps: Maps, gate: Callable[[], None]) -> Reading:
    """Return a ruleset that changes faster than it can be read.

    Looks again and again, and reads again only chains that look different, which takes little time.
    If even that is too long, two looks in a row have to find the same. Rules of a chain that were
    replaced by as many others meanwhile may be missed: this is for one scrape.
    """
    reader = ChainReader(RuleReader(connection))
    before: Found | None = None
    for _ in range(_LOOKS):
        gate()
        generation = read_generation(connection)
        found = _found(connection, generation, reader, maps, gate)
        asked_at = connection.now()
        if found and (read_generation(connection) == generation or found == before):
            tables, lasting = found.tables, found.lasting
            return Reading(generation, tables, lasting, asked_at, False, found.rules)
        before = found
    raise ReadError(f"nftables: the ruleset changed during each of {_LOOKS} looks")


def _found(
    connection: Connection,
    generation: int,
    reader: RuleReader | ChainReader,
    maps: Maps,
    gate: Callable[[], None],
) -> Found | None:
    """Return what is found; None where a map went meanwhile with the rule that named it."""
    try:
        return _read_once(connection, reader, maps, gate)
    except NetlinkError as error:
        if error.errno != errno.ENOENT or read_generation(connection) == generation:
            raise
        return None


def has_rules(connection: Connection) -> bool:
    """Return whether any chain has a rule, without reading rules."""
    everything = nfgenmsg(NFPROTO_UNSPEC)
    return any(connection.dump("nftables GETCHAIN", NFT_MSG_GETCHAIN, everything, parse_use))


def _read_once(
    connection: Connection,
    reader: RuleReader | ChainReader,
    maps: Maps,
    gate: Callable[[], None],
) -> Found:
    """Look at the whole ruleset."""
    tables = list_tables(connection)
    list_chains = functools.partial(_list_chains, connection, reader.names)
    listed = list_chains()
    chains, sizes, newest = base_chains(listed), _sizes(listed), _newest(listed)
    many = MANY
    if isinstance(reader, ChainReader):
        reader.look(listed)
        many = 0
    uses: list[Use] = []
    lives = {table.key: table.handle for table in tables}
    if sum(sizes.values()) < MANY:
        reading = maps.begin(connection, lives, lambda: listed, reader.names)
    else:  # they take a good part of the memory, and where there is no map nobody asks
        reading = maps.begin(connection, lives, list_chains, reader.names)
        listed = []
    for key in [key for key, bases in chains.items() if are_of_interest(bases)]:
        if sizes[key] < many:
            found = reader.read(key, chains[key])
            reading.follow(found.uses)
        else:
            found = read_reached(reader, key, chains[key], reading, gate)
        chains[key] = found.chains
        sizes[key] = sum([len(chain.rules) for chain in found.chains.values()])
        uses += found.uses
    maps.end(reading)
    families = {
        key: read_families(connection, key, use.family_at)
        for use in uses
        if use.family_at is not None
        for key in [(use.table, use.map)]
    }
    lasting = reading.lasting and all(table.lasting for table in tables)
    built = build(tables, chains, reading.found, families)
    return Found(built, lasting, newest, sum(sizes.values()))


def list_tables(connection: Connection) -> list[ParsedTable]:
    """Return all tables, those of other families included."""
    everything = nfgenmsg(NFPROTO_UNSPEC)
    return connection.dump("nftables GETTABLE", NFT_MSG_GETTABLE, everything, parse_table)


def _list_chains(connection: Connection, names: Names) -> list[ParsedChain]:
    parse = parser_cache(functools.partial(parse_chain, names=names))
    everything = nfgenmsg(NFPROTO_UNSPEC)
    return connection.dump("nftables GETCHAIN", NFT_MSG_GETCHAIN, everything, parse)


def _newest(listed: Iterable[ParsedChain]) -> Mapping[TableKey, bytes]:
    """Return the handle of the newest chain of each table: handles go up."""
    newest: dict[TableKey, bytes] = {}
    for key, handle, *_ in listed:
        if handle > newest.get(key, b""):
            newest[key] = handle
    return newest


def _sizes(listed: Iterable[ParsedChain]) -> dict[TableKey, int]:
    """Return the number of rules of each table, together with what leads to its chains."""
    sizes: collections.Counter[TableKey] = collections.Counter()
    for key, _, _, use, _ in listed:
        sizes[key] += int.from_bytes(use, "big")
    return sizes


def are_of_interest(chains: Mapping[str, Chain]) -> bool:
    """Return whether the rules of a table with these chains are read."""
    return any(chain.is_of_interest for chain in chains.values())


def parse_table(payload: memoryview) -> ParsedTable:
    """Parse an NFT_MSG_NEWTABLE."""
    found = nfnetlink_map(payload)
    flags = be32(found[NFTA_TABLE_FLAGS]) if NFTA_TABLE_FLAGS in found else 0
    key = payload[0], text(found[NFTA_TABLE_NAME])
    handle = int.from_bytes(found.get(NFTA_TABLE_HANDLE, b""), "big")
    lasting = flags & (NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST) != NFT_TABLE_F_OWNER
    return ParsedTable(key, bool(flags & NFT_TABLE_F_DORMANT), handle, lasting)


def base_chains(listed: Iterable[ParsedChain]) -> dict[TableKey, Mapping[str, Chain]]:
    """Return the base chains of each table by name."""
    chains: dict[TableKey, dict[str, Chain]] = collections.defaultdict(dict)
    for key, _, name, _, base in listed:
        if base:
            chains[key][name] = base
    return {**chains}


def build(
    tables: Iterable[ParsedTable],
    chains: Mapping[TableKey, Mapping[str, Chain]],
    maps: Mapping[MapKey, Targets],
    families: Mapping[MapKey, MapFamilies] | None = None,
) -> list[Table]:
    """Put the answers of one reading together."""
    return [
        Table(
            Backend.NFTABLES,
            FAMILIES_OF[table.key[0]],
            table.key[1],
            chains.get(table.key, {}),
            {name: targets for (owner, name), targets in maps.items() if owner == table.key},
            table.dormant,
            {name: of for (owner, name), of in (families or {}).items() if owner == table.key},
        )
        for table in tables
        if table.key[0] in FAMILIES_OF
    ]
