"""The nftables ruleset over netlink: tables, chains, rules, and the maps that lead to chains.

Source: include/uapi/linux/netfilter/nf_tables.h (v6.18). Asking loads nf_tables where that is a
module: pass the gate first. Needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import collections
import struct
from collections.abc import Iterable
from typing import NamedTuple

from netfilter_exporter.kernel.errors import Malformed, ReadError
from netfilter_exporter.kernel.families import (
    FAMILIES_OF,
    HOOKS,
    NFPROTO_UNSPEC,
    Backend,
    Hook,
)
from netfilter_exporter.kernel.netlink import (
    NLA_TYPE_MASK,
    Connection,
    attribute_map,
    attributes,
    be32,
    nfgenmsg,
    pack,
    text,
)
from netfilter_exporter.kernel.nft_expressions import Expressions, parse_verdict
from netfilter_exporter.kernel.ruleset import Chain, Rule, Table

_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
NFT_MSG_GETTABLE = _SUBSYSTEM | 1
NFT_MSG_GETCHAIN = _SUBSYSTEM | 4
NFT_MSG_GETRULE = _SUBSYSTEM | 7
NFT_MSG_GETSETELEM = _SUBSYSTEM | 13
NFT_MSG_GETGEN = _SUBSYSTEM | 16

NFTA_GEN_ID = 1
NFTA_TABLE_NAME = 1
NFTA_TABLE_FLAGS = 2
NFT_TABLE_F_DORMANT = 1
NFTA_CHAIN_TABLE = 1
NFTA_CHAIN_NAME = 3
NFTA_CHAIN_HOOK = 4
NFTA_CHAIN_POLICY = 5
NFTA_CHAIN_TYPE = 7
NFTA_HOOK_HOOKNUM = 1
NFTA_HOOK_PRIORITY = 2
NF_DROP = 0
NFTA_RULE_TABLE = 1
NFTA_RULE_CHAIN = 2
NFTA_RULE_EXPRESSIONS = 4
NFTA_RULE_USERDATA = 7
NFTNL_UDATA_RULE_COMMENT = 0  # libnftnl, include/libnftnl/udata.h
NFTA_SET_ELEM_LIST_TABLE = 1
NFTA_SET_ELEM_LIST_SET = 2
NFTA_SET_ELEM_LIST_ELEMENTS = 3
NFTA_SET_ELEM_DATA = 2

_NFGENMSG = 4  # sizeof(struct nfgenmsg)
_ATTRIBUTE = struct.Struct("=HH")

#: Readings that a change of the ruleset may spoil before it is given up.
_ATTEMPTS = 4

TableKey = tuple[int, str]  #: nfproto and name
ChainKey = tuple[int, str, str]  #: nfproto, table and name


class ParsedTable(NamedTuple):
    key: TableKey
    dormant: bool


class ParsedChain(NamedTuple):
    key: ChainKey
    hook: Hook | None
    type: str
    priority: int
    drops: bool


class ParsedRule(NamedTuple):
    chain: ChainKey
    rule: Rule


def read_generation(connection: Connection) -> int:
    """Return the generation of this namespace's ruleset; each committed batch adds one."""
    answer = connection.ask("nftables GETGEN", NFT_MSG_GETGEN, nfgenmsg(NFPROTO_UNSPEC))
    return be32(attribute_map(answer.payload, _NFGENMSG)[NFTA_GEN_ID])


def read_tables(connection: Connection) -> tuple[int, list[Table]]:
    """Return the generation and the tables that an IPv4 or IPv6 packet can meet."""
    for _ in range(_ATTEMPTS):
        generation = read_generation(connection)
        tables = _read_once(connection)
        if read_generation(connection) == generation:
            return generation, tables
    raise ReadError(f"nftables: the ruleset changed during each of {_ATTEMPTS} readings")


def _read_once(connection: Connection) -> list[Table]:
    everything = nfgenmsg(NFPROTO_UNSPEC)
    tables = connection.dump("nftables GETTABLE", NFT_MSG_GETTABLE, everything, parse_table)
    chains = connection.dump("nftables GETCHAIN", NFT_MSG_GETCHAIN, everything, parse_chain)
    parser = RuleParser()
    rules = connection.dump("nftables GETRULE", NFT_MSG_GETRULE, everything, parser.parse)
    maps = {
        (key[0], key[1], name): _read_map(connection, key, name) for key, name in _maps_used(rules)
    }
    return build(tables, chains, rules, maps)


def _maps_used(rules: Iterable[ParsedRule]) -> set[tuple[TableKey, str]]:
    return {(chain[:2], name) for chain, rule in rules for name in rule.maps}


def _read_map(connection: Connection, table: TableKey, name: str) -> tuple[str, ...]:
    """Return the chains that the verdict map `name` leads to."""
    request = (
        nfgenmsg(table[0])
        + pack(NFTA_SET_ELEM_LIST_TABLE, table[1].encode() + b"\0")
        + pack(NFTA_SET_ELEM_LIST_SET, name.encode() + b"\0")
    )
    found = connection.dump("nftables GETSETELEM", NFT_MSG_GETSETELEM, request, parse_elements)
    return tuple(dict.fromkeys(chain for chains in found for chain in chains))


def parse_table(payload: memoryview) -> ParsedTable:
    """Parse an NFT_MSG_NEWTABLE."""
    found = _found(payload)
    flags = be32(found[NFTA_TABLE_FLAGS]) if NFTA_TABLE_FLAGS in found else 0
    key = payload[0], text(found[NFTA_TABLE_NAME])
    return ParsedTable(key, bool(flags & NFT_TABLE_F_DORMANT))


def parse_chain(payload: memoryview) -> ParsedChain:
    """Parse an NFT_MSG_NEWCHAIN; only a base chain has a hook, a type and a policy."""
    found = _found(payload)
    key = payload[0], text(found[NFTA_CHAIN_TABLE]), text(found[NFTA_CHAIN_NAME])
    if NFTA_CHAIN_HOOK not in found or payload[0] not in FAMILIES_OF:
        return ParsedChain(key, None, "", 0, drops=False)
    hook = attribute_map(found[NFTA_CHAIN_HOOK])
    number = be32(hook[NFTA_HOOK_HOOKNUM])
    priority = int.from_bytes(hook[NFTA_HOOK_PRIORITY], "big", signed=True)
    return ParsedChain(
        key,
        HOOKS.get(number),  # NF_INET_INGRESS is beyond them
        text(found[NFTA_CHAIN_TYPE]) if NFTA_CHAIN_TYPE in found else "",
        priority,
        drops=NFTA_CHAIN_POLICY in found and be32(found[NFTA_CHAIN_POLICY]) == NF_DROP,
    )


def parse_elements(payload: memoryview) -> tuple[str, ...]:
    """Return the chains named by the verdicts in an NFT_MSG_NEWSETELEM."""
    found = _found(payload)
    chains = []
    for _, element in attributes(found.get(NFTA_SET_ELEM_LIST_ELEMENTS, memoryview(b""))):
        data = attribute_map(element).get(NFTA_SET_ELEM_DATA)
        if data is not None:
            chains.append(parse_verdict(data)[1])
    return tuple(chain for chain in chains if chain)


class RuleParser:
    """Parses NFT_MSG_NEWRULE messages of one reading; equal names and rules become one object."""

    def __init__(self) -> None:
        self._expressions = Expressions()
        self._chains: dict[tuple[int, bytes, bytes], ChainKey] = {}

    def parse(self, payload: memoryview) -> ParsedRule:
        """Parse one message; unpacked in place, because a ruleset has tens of thousands."""
        table = chain = expressions = None
        comment = ""
        offset, end = _NFGENMSG, len(payload)
        while end - offset >= _ATTRIBUTE.size:
            length, type_ = _ATTRIBUTE.unpack_from(payload, offset)
            if length < _ATTRIBUTE.size or offset + length > end:
                raise Malformed(f"nftables: a rule's attribute {type_} is cut")
            value = payload[offset + 4 : offset + length]
            type_ &= NLA_TYPE_MASK
            if type_ == NFTA_RULE_TABLE:
                table = bytes(value)
            elif type_ == NFTA_RULE_CHAIN:
                chain = bytes(value)
            elif type_ == NFTA_RULE_EXPRESSIONS:
                expressions = value
            elif type_ == NFTA_RULE_USERDATA:
                comment = parse_comment(value)
            offset += (length + 3) & ~3
        if table is None or chain is None:
            raise Malformed("nftables: a rule without a table or a chain")
        rule = Rule() if expressions is None else self._expressions.rule(expressions, comment)
        return ParsedRule(self._key(payload[0], table, chain), rule)

    def _key(self, nfproto: int, table: bytes, chain: bytes) -> ChainKey:
        raw = nfproto, table, chain
        key = self._chains.get(raw)
        if key is None:
            key = nfproto, text(memoryview(table)), text(memoryview(chain))
            self._chains[raw] = key
        return key


def parse_comment(userdata: memoryview) -> str:
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
    chains: Iterable[ParsedChain],
    rules: Iterable[ParsedRule],
    maps: dict[tuple[int, str, str], tuple[str, ...]],
) -> list[Table]:
    """Put the answers of one reading together."""
    rules_of: dict[ChainKey, list[Rule]] = collections.defaultdict(list)
    for key, rule in rules:
        rules_of[key].append(rule)
    chains_of: dict[TableKey, dict[str, Chain]] = collections.defaultdict(dict)
    for chain in chains:
        chains_of[chain.key[:2]][chain.key[2]] = Chain(
            rules_of[chain.key], chain.hook, chain.type, chain.priority, chain.drops
        )
    return [
        Table(
            Backend.NFTABLES,
            FAMILIES_OF[key[0]],
            key[1],
            chains_of.get(key, {}),
            {name: targets for (*owner, name), targets in maps.items() if tuple(owner) == key},
            dormant,
        )
        for key, dormant in tables
        if key[0] in FAMILIES_OF
    ]


def _found(payload: memoryview) -> dict[int, memoryview]:
    if len(payload) < _NFGENMSG:
        raise Malformed(f"nftables: a message of {len(payload)} bytes")
    return attribute_map(payload, _NFGENMSG)
