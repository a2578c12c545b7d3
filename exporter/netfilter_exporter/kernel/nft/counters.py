"""The counters of the rules of one chain, read without the rest of the rules.

Source: nft_counter_dump in net/netfilter/nft_counter.c (v6.18). Asking loads nf_tables where that
is a module: pass the gate first.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, NamedTuple

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
from netfilter_exporter.kernel.parser_cache import unpacker_of_others

#: Expressions that translate; what is behind them is not evaluated.
_TRANSLATES = frozenset({b"masq\0", b"nat\0", b"redir\0", b"target\0"})
_COUNTER_SIZE = 8
_HEADER = 4  # struct nlattr


class ChainCounters(NamedTuple):
    """What the rules of a chain have counted."""

    #: Of each rule: handle and content; no values of counters, and not which rule is before it.
    rules: Sequence[bytes]
    packets: Mapping[int, int]  #: by position, of rules with a counter before their translation


class RuleCounter(NamedTuple):
    """The message of a rule, and the counter in it."""

    table: TableKey
    chain: bytes  #: as it stands in the message
    content: bytes  #: see `ChainCounters.rules`
    packets: slice | None  #: None: it has no counter before its translation
    changing: list[slice]  #: what may differ in the next message of the same rule


class ChainReader:
    """Reads the counters of one chain again and again.

    Messages of rules that did not change differ in the values of counters alone. So all other
    bytes of a chain are compared at once, and nothing is parsed again.
    """

    def __init__(self, table: TableKey, chain: str) -> None:
        self._table, self._chain = table, chain
        self._known: _Layout | None = None

    def read(self, connection: Connection) -> ChainCounters:
        """Return what the rules of the chain have counted."""
        request = (
            nfgenmsg(self._table[0])
            + pack_name(NFTA_RULE_TABLE, self._table[1])
            + pack_name(NFTA_RULE_CHAIN, self._chain)
        )
        messages = connection.dump("nftables GETRULE", NFT_MSG_GETRULE, request, _whole)
        content = b"".join(messages)
        if self._known is None or not self._known.is_of(content):
            self._known = self._parse(messages, content)
        return self._known.read(content)

    def _parse(self, messages: Sequence[memoryview], content: bytes) -> _Layout:
        rules: list[bytes] = []
        counters: list[tuple[int, slice]] = []
        changing: list[slice] = []
        chain = names.encode(self._chain) + b"\0"
        starts = itertools.accumulate(map(len, messages), initial=0)
        for start, rule in zip(starts, map(parse_counter, messages)):
            changing += [_moved(place, start) for place in rule.changing]
            # A kernel that does not know the filter gives all rules.
            if rule.chain == chain and rule.table == self._table:
                if rule.packets:
                    counters.append((len(rules), _moved(rule.packets, start)))
                rules.append(rule.content)
        return _Layout(content, rules, counters, changing)


class _Layout:
    """Where the counters of a chain are in the messages of its rules, one behind the other."""

    def __init__(
        self,
        content: bytes,
        rules: Sequence[bytes],
        counters: Sequence[tuple[int, slice]],
        changing: Sequence[slice],
    ) -> None:
        """`counters` are the positions of rules, and where their packets stand."""
        size = len(content)
        self._rules = rules
        self._positions = [position for position, _ in counters]
        packets = [(place, "Q") for _, place in counters]
        self._packets = _unpacker(size, packets, between="x")
        left_out = [(place, f"{place.stop - place.start}x") for place in changing]
        self._others = _unpacker(size, left_out, between="s")
        self._size, self._same = size, self._others(content)

    def is_of(self, content: bytes) -> bool:
        """Return whether these are messages of the same rules."""
        return len(content) == self._size and self._others(content) == self._same

    def read(self, content: bytes) -> ChainCounters:
        """Return the counters in messages that `is_of` knows."""
        return ChainCounters(self._rules, dict(zip(self._positions, self._packets(content))))


def _unpacker(
    size: int, parts: Sequence[tuple[slice, str]], *, between: str
) -> Callable[[bytes], tuple[Any, ...]]:
    """Return what unpacks parts of `size` bytes in their order, each by its format, big-endian."""
    format_, at = ">", 0
    for place, of_part in parts:
        format_ += f"{place.start - at}{between}{of_part}"
        at = place.stop
    return struct.Struct(f"{format_}{size - at}{between}").unpack


def _whole(message: memoryview) -> memoryview:
    return message


def _moved(place: slice, by: int) -> slice:
    return slice(place.start + by, place.stop + by)


def parse_counter(payload: memoryview) -> RuleCounter:
    """Parse an NFT_MSG_NEWRULE up to the last counter before the translation."""
    found = nfnetlink_places(payload)
    for type_ in (NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_HANDLE):
        if type_ not in found:
            raise Malformed("nftables: a rule without a table, a chain or a handle")
    packets: slice | None = None
    changing = [slice(0, NFGENMSG.size)]
    translated = False
    for name, data in _expressions(payload, found.get(NFTA_RULE_EXPRESSIONS, slice(0, 0))):
        if name == b"counter\0":
            changing.append(data)
            if not translated:
                packets = _packets(payload, data)
        translated = translated or name in _TRANSLATES
    left_out = list(changing)
    if NFTA_RULE_POSITION in found:  # absent from the first rule of a chain: with its header
        place = found[NFTA_RULE_POSITION]
        left_out.append(slice(place.start - _HEADER, place.stop))
    return RuleCounter(
        (payload[0], text(payload[found[NFTA_RULE_TABLE]])),
        bytes(payload[found[NFTA_RULE_CHAIN]]),
        b"".join(unpacker_of_others(len(payload), left_out)(payload)),
        packets,
        changing,
    )


def _packets(payload: memoryview, data: slice) -> slice | None:
    found = places(payload, data).get(NFTA_COUNTER_PACKETS)
    if found and found.stop - found.start != _COUNTER_SIZE:
        raise Malformed(f"nftables: a counter of {found.stop - found.start} bytes")
    return found


def _expressions(payload: memoryview, nest: slice) -> Iterator[tuple[bytes, slice]]:
    """Yield the name of each expression of a rule, and where its data is."""
    for _, start, end in attribute_places(payload, nest.start, nest.stop):
        found = places(payload, slice(start, end))
        if NFTA_EXPR_NAME not in found:
            raise Malformed("nftables: an expression without a name")
        yield bytes(payload[found[NFTA_EXPR_NAME]]), found.get(NFTA_EXPR_DATA, slice(start, start))
