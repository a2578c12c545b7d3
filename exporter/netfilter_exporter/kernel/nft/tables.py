"""The nftables ruleset over netlink: tables, chains, rules, and the maps that lead to chains.

Source: include/uapi/linux/netfilter/nf_tables.h (v6.18). Asking loads nf_tables where that is a
module: pass the gate first. Needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import collections
import errno
import functools
import itertools
import operator
from collections.abc import Iterable, Mapping
from typing import Callable, NamedTuple

from netfilter_exporter.kernel.errors import Malformed, NoData, ReadError
from netfilter_exporter.kernel.netlink.attributes import attribute_map, be32, pack_name, text
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import (
    NetlinkError,
    nfgenmsg,
    nfnetlink_map,
    nfnetlink_places,
)
from netfilter_exporter.kernel.nft.decode import decode
from netfilter_exporter.kernel.nft.maps import (
    NFNL_SUBSYS_NFTABLES,
    MapKey,
    Maps,
    ParsedChain,
    TableKey,
    Targets,
    Use,
)
from netfilter_exporter.kernel.parser_cache import Parsed, ParserCache, unpacker
from netfilter_exporter.rules.families import FAMILIES_OF, HOOKS, NFPROTO_UNSPEC, Backend
from netfilter_exporter.rules.model import Chain, Rule, Table

_SUBSYSTEM = NFNL_SUBSYS_NFTABLES << 8
NFT_MSG_GETTABLE = _SUBSYSTEM | 1
NFT_MSG_GETCHAIN = _SUBSYSTEM | 4
NFT_MSG_GETRULE = _SUBSYSTEM | 7
NFT_MSG_GETGEN = _SUBSYSTEM | 16

NFTA_GEN_ID = 1
NFTA_TABLE_NAME = 1
NFTA_TABLE_FLAGS = 2
NFTA_TABLE_HANDLE = 4  # since v4.16
NFT_TABLE_F_DORMANT, NFT_TABLE_F_OWNER, NFT_TABLE_F_PERSIST = 0x1, 0x2, 0x4
NFTA_CHAIN_TABLE = 1
NFTA_CHAIN_HANDLE = 2
NFTA_CHAIN_NAME = 3
NFTA_CHAIN_HOOK = 4
NFTA_CHAIN_POLICY = 5
NFTA_CHAIN_USE = 6
NFTA_CHAIN_TYPE = 7
NFTA_HOOK_HOOKNUM = 1
NFTA_HOOK_PRIORITY = 2
NF_DROP = 0
NFTA_RULE_TABLE = 1
NFTA_RULE_CHAIN = 2
NFTA_RULE_HANDLE = 3
NFTA_RULE_EXPRESSIONS = 4
NFTA_RULE_USERDATA = 7
NFTNL_UDATA_RULE_COMMENT = 0  # libnftnl, include/libnftnl/udata.h

#: Readings that a change of the ruleset may spoil before it is given up.
_ATTEMPTS = 4

#: Table, chain, rule, and its handle if it looks into maps, else 0: plain, there are many.
ParsedRule = tuple[TableKey, str, Rule, int]


class ParsedTable(NamedTuple):
    key: TableKey
    dormant: bool
    handle: int  #: of one life of the table; 0: this kernel has none
    lasting: bool  #: it does not go with the process that owns it, which adds no generation


class Reading(NamedTuple):
    """The tables that an IPv4 or IPv6 packet can meet, of one generation."""

    generation: int
    tables: list[Table]
    lasting: bool  #: all of it is the same as long as the generation is


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


def read_tables(connection: Connection, maps: Maps) -> Reading:
    """Return the ruleset; of a table that says nothing about NAT or tracking, without the rules.

    Where the generation is another one afterwards, two readings in a row have to be the same.
    """
    before: tuple[list[Table], bool] | None = None
    for _ in range(_ATTEMPTS):
        generation = read_generation(connection)
        try:
            found = _read_once(connection, maps)
        except NetlinkError as error:
            if error.errno != errno.ENOENT or read_generation(connection) == generation:
                raise
            continue  # a map went with the rule that named it
        if read_generation(connection) == generation or found == before:
            return Reading(generation, *found)
        before = found
    raise ReadError(f"nftables: the ruleset changed during each of {_ATTEMPTS} readings")


def has_rules(connection: Connection) -> bool:
    """Tell whether any chain has a rule, without asking for rules."""
    everything = nfgenmsg(NFPROTO_UNSPEC)
    return any(connection.dump("nftables GETCHAIN", NFT_MSG_GETCHAIN, everything, parse_use))


def parse_use(payload: memoryview) -> int:
    """Return the number of rules and references of one NFT_MSG_NEWCHAIN."""
    use = nfnetlink_map(payload).get(NFTA_CHAIN_USE, memoryview(b""))
    return int.from_bytes(use, "big")


def _read_once(connection: Connection, maps: Maps) -> tuple[list[Table], bool]:
    """Return the tables, and whether they stay as they are while the generation does."""
    everything = nfgenmsg(NFPROTO_UNSPEC)
    names = Names()
    tables = connection.dump("nftables GETTABLE", NFT_MSG_GETTABLE, everything, parse_table)
    parse = ParserCache(functools.partial(parse_chain, names=names))
    chains = connection.dump("nftables GETCHAIN", NFT_MSG_GETCHAIN, everything, parse)
    parse_of_rules = ParserCache(functools.partial(parse_rule, names=names))
    rules: list[ParsedRule] = []
    for key in dict.fromkeys(key for key, *_, base in chains if base and base.is_of_interest):
        rules += _read_rules(connection, key, parse_of_rules)
    uses = [Use(rule[0], rule[3], name) for rule in rules for name in rule[2].maps]
    lives = {table.key: table.handle for table in tables}
    targets, lasting = maps.read(connection, uses, lives, chains if uses else ())
    lasting = lasting and all(table.lasting for table in tables)
    return build(tables, chains, rules, targets), lasting


def _read_rules(
    connection: Connection, table: TableKey, parse: Callable[[memoryview], ParsedRule]
) -> list[ParsedRule]:
    request = nfgenmsg(table[0]) + pack_name(NFTA_RULE_TABLE, table[1])
    rules = connection.dump("nftables GETRULE", NFT_MSG_GETRULE, request, parse)
    if all(rule[0] == table for rule in rules):
        return rules
    return [rule for rule in rules if rule[0] == table]  # a kernel that does not know the filter


def read_handles(connection: Connection, table: TableKey, chain: str) -> list[int]:
    """Return the handles of the rules of one chain, in their order."""
    request = (
        nfgenmsg(table[0])
        + pack_name(NFTA_RULE_TABLE, table[1])
        + pack_name(NFTA_RULE_CHAIN, chain)
    )
    found = connection.dump("nftables GETRULE", NFT_MSG_GETRULE, request, parse_handle)
    # A kernel that does not know the filter gives all rules.
    return [handle for key, name, handle in found if (key, name) == (table, chain)]


def read_chain_handles(connection: Connection, table: TableKey, chain: str) -> tuple[int, int]:
    """Return the handles of a table, 0 before v4.16, and of a chain of it; raises `NoData`."""
    family, name = table
    of_table = nfgenmsg(family) + pack_name(NFTA_TABLE_NAME, name)
    of_chain = (
        nfgenmsg(family) + pack_name(NFTA_CHAIN_TABLE, name) + pack_name(NFTA_CHAIN_NAME, chain)
    )
    found = parse_table(connection.ask("nftables GETTABLE", NFT_MSG_GETTABLE, of_table))
    answer = nfnetlink_map(connection.ask("nftables GETCHAIN", NFT_MSG_GETCHAIN, of_chain))
    return found.handle, int.from_bytes(answer[NFTA_CHAIN_HANDLE], "big")


def parse_handle(payload: memoryview) -> tuple[TableKey, str, int]:
    """Return table, chain and handle of an NFT_MSG_NEWRULE."""
    found = nfnetlink_map(payload)
    key = payload[0], text(found[NFTA_RULE_TABLE])
    return key, text(found[NFTA_RULE_CHAIN]), int.from_bytes(found[NFTA_RULE_HANDLE], "big")


def parse_table(payload: memoryview) -> ParsedTable:
    """Parse an NFT_MSG_NEWTABLE."""
    found = nfnetlink_map(payload)
    flags = be32(found[NFTA_TABLE_FLAGS]) if NFTA_TABLE_FLAGS in found else 0
    key = payload[0], text(found[NFTA_TABLE_NAME])
    handle = int.from_bytes(found.get(NFTA_TABLE_HANDLE, b""), "big")
    lasting = flags & (NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST) != NFT_TABLE_F_OWNER
    return ParsedTable(key, bool(flags & NFT_TABLE_F_DORMANT), handle, lasting)


class Names(dict[bytes, str]):
    """Names of chains as they stand in messages; one that is met again is the same object."""

    def __missing__(self, raw: bytes) -> str:
        name = self[raw] = text(raw)
        return name


def parse_chain(payload: memoryview, names: Names | None = None) -> Parsed[ParsedChain]:
    """Parse an NFT_MSG_NEWCHAIN; user chains of one shape differ in name and handle.

    `names` are those that were met in the same reading.
    """
    known = Names() if names is None else names
    values = nfnetlink_places(payload)
    for type_ in (NFTA_CHAIN_TABLE, NFTA_CHAIN_HANDLE, NFTA_CHAIN_NAME):
        if type_ not in values:
            raise Malformed("nftables: a chain without a table, a handle or a name")
    table = payload[0], text(payload[values[NFTA_CHAIN_TABLE]])
    if NFTA_CHAIN_HOOK in values:
        base = parse_base(payload)
        name = text(payload[values[NFTA_CHAIN_NAME]])
        handle = bytes(payload[values[NFTA_CHAIN_HANDLE]])
        return Parsed(lambda _: (table, handle, name, base), ())
    ignored = [place for type_, place in values.items() if type_ != NFTA_CHAIN_TABLE]
    both = sorted((NFTA_CHAIN_HANDLE, NFTA_CHAIN_NAME), key=lambda type_: values[type_].start)
    pick = unpacker(len(payload), [values[type_] for type_ in both])
    at, name_at = both.index(NFTA_CHAIN_HANDLE), both.index(NFTA_CHAIN_NAME)

    def make(message: memoryview) -> ParsedChain:
        picked = pick(message)
        return table, picked[at], known[picked[name_at]], None

    return Parsed(make, ignored)


def parse_base(payload: memoryview) -> Chain:
    """Parse the NFT_MSG_NEWCHAIN of a chain that has a hook, a type and a policy."""
    found = nfnetlink_map(payload)
    hook = attribute_map(found[NFTA_CHAIN_HOOK])
    inet = payload[0] in FAMILIES_OF
    return Chain(
        [],
        # NF_INET_INGRESS is beyond the five; netdev, arp and bridge number theirs differently
        HOOKS.get(be32(hook[NFTA_HOOK_HOOKNUM])) if inet else None,
        text(found[NFTA_CHAIN_TYPE]) if NFTA_CHAIN_TYPE in found else "",
        int.from_bytes(hook[NFTA_HOOK_PRIORITY], "big", signed=True),
        drops=NFTA_CHAIN_POLICY in found and be32(found[NFTA_CHAIN_POLICY]) == NF_DROP,
    )


def parse_rule(payload: memoryview, names: Names | None = None) -> Parsed[ParsedRule]:
    """Parse an NFT_MSG_NEWRULE; rules of one shape share what they do, not where they lead.

    `names` are those that were met in the same reading.
    """
    known = Names() if names is None else names
    values = nfnetlink_places(payload)
    for type_ in (NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_HANDLE):
        if type_ not in values:
            raise Malformed("nftables: a rule without a table, a chain or a handle")
    table = payload[0], text(payload[values[NFTA_RULE_TABLE]])
    chain = values[NFTA_RULE_CHAIN]
    nest = values.get(NFTA_RULE_EXPRESSIONS, slice(0, 0))
    rule, ignored, *named = decode(payload, nest.start, nest.stop)
    ignored.append(chain)
    ignored += [values[type_] for type_ in values if type_ not in _RULE_READ]
    has_comment = not rule.conditional and NFTA_RULE_USERDATA in values
    named.append([values[NFTA_RULE_USERDATA]] if has_comment else [])
    named.append([values[NFTA_RULE_HANDLE]] if rule.maps else [])
    in_message = sorted(itertools.chain(*named), key=lambda part: part.start)
    chain_of = unpacker(len(payload), [chain])
    if not in_message:
        return Parsed(lambda message: (table, known[chain_of(message)[0]], rule, 0), ignored)
    pick = unpacker(len(payload), in_message)
    starts = [part.start for part in in_message]
    targets, maps, comments, handles = (
        [starts.index(part.start) for part in parts] for parts in named
    )
    made: dict[tuple[bytes, ...], tuple[Rule, int]] = {}

    def make(message: memoryview) -> ParsedRule:
        picked = pick(message)
        found = made.get(picked)
        if found is None:
            with_names = Rule(
                rule[0],
                rule[1],
                tuple([known[picked[at]] for at in targets]),
                tuple([known[picked[at]] for at in maps]),
                *rule[4:-1],
                parse_comment(picked[comments[0]]) if comments else "",
            )
            handle = int.from_bytes(picked[handles[0]], "big") if handles else 0
            found = made[picked] = with_names, handle
        return table, known[chain_of(message)[0]], *found

    return Parsed(make, ignored)


#: What the shape of a rule depends on. The chain is in the message of each rule.
_RULE_READ = {NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS}


def parse_comment(userdata: bytes) -> str:
    """Return the comment in NFTA_RULE_USERDATA, which libnftnl fills with (type, length, value)."""
    offset = 0
    while offset + 2 <= len(userdata):
        type_, length = userdata[offset], userdata[offset + 1]
        if type_ == NFTNL_UDATA_RULE_COMMENT:
            return text(userdata[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return ""


def build(
    tables: Iterable[ParsedTable],
    listed: Iterable[ParsedChain],
    rules: Iterable[ParsedRule],
    maps: Mapping[MapKey, Targets],
) -> list[Table]:
    """Put the answers of one reading together."""
    chains: dict[TableKey, dict[str, Chain]] = collections.defaultdict(dict)
    for key, _, name, base in listed:
        if base:
            chains[key][name] = base
    for table, of_table in itertools.groupby(rules, key=operator.itemgetter(0)):
        known = chains[table]
        for _, name, rule, _ in of_table:
            if name not in known:
                known[name] = Chain([])
            known[name].rules.append(rule)
    return [
        Table(
            Backend.NFTABLES,
            FAMILIES_OF[key[0]],
            key[1],
            chains[key],
            {name: targets for (owner, name), targets in maps.items() if owner == key},
            dormant,
        )
        for key, dormant, *_ in tables
        if key[0] in FAMILIES_OF
    ]
