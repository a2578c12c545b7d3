"""The counters of the rules of one chain, read without the rest of the rules.

Source: nft_counter_dump in net/netfilter/nft_counter.c (v6.18). Asking loads nf_tables where that
is a module: pass the gate first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable, NamedTuple

from netfilter_exporter.kernel import names
from netfilter_exporter.kernel.errors import Malformed
from netfilter_exporter.kernel.netlink.attributes import attribute_places, pack_name, text
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NFGENMSG, nfgenmsg, nfnetlink_places
from netfilter_exporter.kernel.nft.expression import places
from netfilter_exporter.kernel.nft.maps import TableKey
from netfilter_exporter.kernel.nft.uapi import (
    NFT_MSG_GETRULE,
    NFTA_COUNTER_PACKETS,
    NFTA_EXPR_DATA,
    NFTA_EXPR_NAME,
    NFTA_RULE_CHAIN,
    NFTA_RULE_EXPRESSIONS,
    NFTA_RULE_HANDLE,
    NFTA_RULE_POSITION,
    NFTA_RULE_TABLE,
)
from netfilter_exporter.kernel.parser_cache import Parsed, Picker, parser_cache, unpacker_of_others

#: Expressions that translate; what is behind them is not evaluated.
_TRANSLATES = frozenset({b"masq\0", b"nat\0", b"redir\0", b"target\0"})
_COUNTER_SIZE = 8
_HEADER = 4  # struct nlattr


class RuleCounter(NamedTuple):
    """The counter of a rule."""

    table: TableKey
    chain: bytes  #: as it stands in the message
    others: bytes  #: handle and content: no values of counters, and not which rule is before it
    packets: int | None  #: None: it has no counter before its translation


#: Parses the message of a rule.
Parse = Callable[[memoryview], RuleCounter]


def make_parser() -> Parse:
    """Return a parser that recognises forms of rules, for any number of readings."""
    return parser_cache(parse_counter)


def read_counters(
    connection: Connection, table: TableKey, chain: str, parse: Parse
) -> list[RuleCounter]:
    """Return what the rules of a chain have counted, in their order."""
    request = (
        nfgenmsg(table[0])
        + pack_name(NFTA_RULE_TABLE, table[1])
        + pack_name(NFTA_RULE_CHAIN, chain)
    )
    found = connection.dump("nftables GETRULE", NFT_MSG_GETRULE, request, parse)
    # A kernel that does not know the filter gives all rules.
    name = names.encode(chain) + b"\0"
    return [each for each in found if each.chain == name and each.table == table]


def parse_counter(payload: memoryview) -> Parsed[RuleCounter]:
    """Parse the last counter before the translation in an NFT_MSG_NEWRULE."""
    found = nfnetlink_places(payload)
    for type_ in (NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_HANDLE):
        if type_ not in found:
            raise Malformed("nftables: a rule without a table, a chain or a handle")
    table = payload[0], text(payload[found[NFTA_RULE_TABLE]])
    chain = found[NFTA_RULE_CHAIN]
    ignored = [place for type_, place in found.items() if type_ not in _READ]
    counter: slice | None = None
    counted: list[slice] = []
    translated = False
    for name, data in _expressions(payload, found.get(NFTA_RULE_EXPRESSIONS, slice(0, 0))):
        ignored.append(data)
        if name == b"counter\0":
            counted.append(data)
            if not translated:
                counter = _packets(payload, data)
        translated = translated or name in _TRANSLATES
    picker = Picker(len(payload), [chain, counter] if counter else [chain])
    unpack, chain_at = picker.unpack, picker.at(chain)
    counter_at = picker.at(counter) if counter else None
    left_out = [slice(0, NFGENMSG.size), *counted]
    if NFTA_RULE_POSITION in found:  # absent from the first rule of a chain: with its header
        place = found[NFTA_RULE_POSITION]
        left_out.append(slice(place.start - _HEADER, place.stop))
    others = unpacker_of_others(len(payload), left_out)

    def make(message: memoryview) -> RuleCounter:
        parts = unpack(message)
        packets = None if counter_at is None else int.from_bytes(parts[counter_at], "big")
        return RuleCounter(table, parts[chain_at], b"".join(others(message)), packets)

    return Parsed(make, ignored)


def _packets(payload: memoryview, data: slice) -> slice | None:
    found = places(payload, data).get(NFTA_COUNTER_PACKETS)
    if found and found.stop - found.start != _COUNTER_SIZE:
        raise Malformed(f"nftables: a counter of {found.stop - found.start} bytes")
    return found


_READ = {NFTA_RULE_TABLE, NFTA_RULE_EXPRESSIONS}


def _expressions(payload: memoryview, nest: slice) -> Iterator[tuple[bytes, slice]]:
    """Yield the name of each expression of a rule, and where its data is."""
    for _, start, end in attribute_places(payload, nest.start, nest.stop):
        found = places(payload, slice(start, end))
        if NFTA_EXPR_NAME not in found:
            raise Malformed("nftables: an expression without a name")
        yield bytes(payload[found[NFTA_EXPR_NAME]]), found.get(NFTA_EXPR_DATA, slice(start, start))
