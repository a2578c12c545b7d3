"""Entries in the lines of /proc/net/nf_conntrack.

Source: ct_seq_show and print_tuple (net/netfilter/nf_conntrack_standalone.c, v6.18). The lines hold
no id and no status bits: an entry is known by its original tuple and zone.
"""

from __future__ import annotations

import functools
import re
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from netfilter_exporter.kernel.conntrack.flow import (
    CLOSING,
    NUMBERS_WITH_PORTS,
    PROTOCOLS,
    TCP_STATES,
    TRANSLATED,
    WITH_PORTS,
    Flow,
    Kind,
    Marks,
    PortUse,
    Reading,
    Source,
    Towards,
    kind,
    most_used,
)
from netfilter_exporter.kernel.errors import Malformed
from netfilter_exporter.rules.families import Family

_FAMILIES = {b"ipv4": Family.IPV4, b"ipv6": Family.IPV6}
_WORDS = {family: word for word, family in _FAMILIES.items()}
_TCP_STATES = {state.upper().encode(): state for state in TCP_STATES}
_OFFLOADED = {b"OFFLOAD", b"HW_OFFLOAD"}

_TUPLE = (
    rb"src=\S+ dst=\S+ "
    rb"(?:sport=\d+ dport=\d+ |type=\d+ code=\d+ id=\d+ |srckey=\S+ dstkey=\S+ )?"
)
_BYTES = rb"(?:packets=\d+ bytes=\d+ )?"  # with nf_conntrack_acct
_LINE = re.compile(
    rb"^(ipv[46]) +\d+ \S+ +(\d+) (?:\d+ )?"  # an offloaded flow has no timeout
    rb"(?:([A-Z][A-Z_0-9]*) )?.*?"  # GRE shows more timeouts
    rb"(" + _TUPLE + rb"(?:zone-orig=\d+ )?)" + _BYTES + rb"(?:(\[UNREPLIED\]) )?"
    rb"(" + _TUPLE + rb")(?:zone-reply=\d+ )?" + _BYTES + rb"(?:\[([A-Z_]+)\] )?"
    rb"(?:mark=\d+ )?(?:secctx=\S+ )?(zone=\d+)?.*\n",
    re.MULTILINE,
)


class Line(NamedTuple):
    """The words of a line that decide."""

    family: bytes
    protocol: bytes
    state: bytes  #: empty for protocols without one, and for offloaded flows
    original: bytes
    unreplied: bytes  #: empty after a reply
    reply: bytes
    mark: bytes  #: ASSURED, OFFLOAD, HW_OFFLOAD or empty
    zone: bytes


def reading(content: bytes, *, complete: bool) -> Reading:
    """Return the reading of whole lines; the error of one that is not understood names no flow.

    A line is known by its family, protocol, original tuple and zone.
    """
    lines = _LINE.findall(content)
    if len(lines) != content.count(b"\n"):
        raise Malformed("nf_conntrack: a line that cannot be understood")
    decisive = Counter(
        [
            (family, protocol, state, unreplied, mark)
            for family, protocol, state, _, unreplied, _, mark, _ in lines
        ]
    )
    census: Counter[Kind] = Counter()
    for words, number in decisive.items():
        census[_kind(*words)] += number
    keys = [
        b" ".join((family, protocol, original, zone))
        for family, protocol, _, original, _, _, _, zone in lines
    ]
    use = functools.partial(_port_use, lines)

    def flow(index: int) -> Flow:
        return parse_flow(Line(*lines[index]))

    return Reading("procfs", keys, census, flow, complete, port_use=use)


_DEFAULT_ZONE = frozenset({b"", b"zone=0"})
_CLOSING = frozenset(state.upper().encode() for state in CLOSING)


def _port_use(lines: Iterable[tuple[bytes, ...]], number: int, fewest: int) -> list[PortUse]:
    """Group flows by their reply tuple without its last port, which is the translated one."""
    groups: dict[tuple[bytes, bytes], list[tuple[bytes, ...]]] = {}
    for line in lines:
        _, protocol, state, _, _, reply, _, zone = line
        head, has_ports, _ = reply.partition(b" dport=")
        if has_ports and state not in _CLOSING and zone in _DEFAULT_ZONE:
            groups.setdefault((protocol, head), []).append(line)
    large = [[*map(Line._make, group)] for group in groups.values() if len(group) >= fewest]
    return most_used(large, number, _towards, _is_translated, _port)


#: The most replies that are kept. With more, those with the fewest flows are given up. What
#: is given up and met again lacks a flow for each such occasion (lossy counting: Manku and Motwani,
#: Approximate Frequency Counts over Data Streams, 2002).
_MOST_REPLIES = 20_000
#: Of an open flow of the default zone: family and protocol, then its reply and the port of that.
_OPEN = re.compile(
    rb"^.{9}(.{11})(?! ?\d+ \d+ (?:" + b"|".join(_CLOSING) + rb") )"
    rb".* (src=\S+ dst=\S+ sport=\d+ )dport=(\d+) (?!.*zone=[1-9])",
    re.MULTILINE,
)


class _Ports:
    """The ports that count towards one destination, and how many were found."""

    def __init__(self, source: Source, first: int, last: int) -> None:
        self.source = source
        self.first, self.last = first, last
        self.found = 0


class ListedPorts:
    """Counts the ports that open flows of the default zone use from some sources, by destination.

    It parses no line: a table has hundreds of thousands.
    """

    def __init__(self, wanted: Mapping[Source, tuple[int, int]]) -> None:
        """`wanted` are the first and the last port that count, by source."""
        self._wanted = {_key(source): (source, *ports) for source, ports in wanted.items()}
        self._replies: dict[bytes, _Ports | None] = {}
        self._given_up = 0

    def take(self, lines: bytes) -> None:
        """Count in whole lines."""
        replies = self._replies
        for protocol, reply, port in _OPEN.findall(lines):
            key = protocol + reply
            if key not in replies:
                wanted = self._wanted.get(protocol + reply.split(b" ")[1])
                replies[key] = _Ports(*wanted) if wanted else None
            ports = replies[key]
            if ports and ports.first <= int(port) <= ports.last:
                ports.found += 1
        if len(replies) > _MOST_REPLIES:
            self._give_up()

    def _give_up(self) -> None:
        self._given_up += 1
        for key, ports in list(self._replies.items()):
            if not ports or ports.found <= self._given_up:
                del self._replies[key]

    def most_used(self) -> dict[Source, tuple[Towards, int]]:
        """Return the destination of each source that uses most ports, and how many these are."""
        most: dict[Source, tuple[int, bytes]] = {}
        for key, ports in self._replies.items():
            if ports and ports.found > most.get(ports.source, (0, b""))[0]:
                most[ports.source] = ports.found, key
        return {
            source: (_with_destination(source, key), number)
            for source, (number, key) in most.items()
        }


def _key(source: Source) -> bytes:
    """Return what lines have of a source: their protocol, and the destination of the reply."""
    protocol = b"%d %-8b " % (source.family.nfproto, PROTOCOLS[source.protocol].encode())
    return protocol[:11] + b"dst=" + _text(source.family, source.address)


def _with_destination(source: Source, reply: bytes) -> Towards:
    destination, _, port = (word.partition(b"=")[2] for word in reply.split()[-3:])
    return Towards(*source, _packed(_WORDS[source.family], destination), int(port))


def _text(family: Family, address: bytes) -> bytes:
    """Return an address as print_tuple writes it: IPv6 in eight groups of four digits."""
    if family is Family.IPV4:
        return socket.inet_ntoa(address).encode()
    return address.hex(":", 2).encode()


def _towards(line: Line) -> Towards | None:
    protocol = int(line.protocol)
    if protocol not in NUMBERS_WITH_PORTS:
        return None
    answering, answered = _ends(line.family, line.reply)
    family = _FAMILIES[line.family]
    return Towards(family, protocol, answered[0], answering[0], int(answering[1]))


def _is_translated(line: Line) -> bool:
    """Return whether the source of a flow with ports is, without parsing addresses."""
    sent, answered = line.original.split(), line.reply.split()
    values = [word.split(b"=")[1] for word in (sent[0], sent[2], answered[1], answered[3])]
    return values[:2] != values[2:]


def _port(line: Line) -> int:
    """Return the source port, translated, of a flow of a protocol with ports."""
    return int(_ends(line.family, line.reply)[1][1])


def _kind(family: bytes, protocol: bytes, state: bytes, unreplied: bytes, mark: bytes) -> Kind:
    offloaded = mark in _OFFLOADED
    marks = Marks(not unreplied, offloaded or mark == b"ASSURED", offloaded)
    # SCTP and DCCP have states too.
    return kind(_FAMILIES[family], int(protocol), _TCP_STATES.get(state, ""), marks)


def parse_flow(line: Line) -> Flow:
    """Return the flow of a line."""
    source, destination = _ends(line.family, line.original)
    answering, answered = _ends(line.family, line.reply)
    translated = TRANSLATED[answered != source, answering != destination]
    kind_ = _kind(line.family, line.protocol, line.state, line.unreplied, line.mark)
    port = int(answering[1]) if kind_.protocol in WITH_PORTS else None
    return Flow(kind_, source[0], answering[0], port, translated)


_End = tuple[bytes, bytes]  #: a packed address, and a port, a key of GRE or an ICMP id


def _ends(family: bytes, words: bytes) -> tuple[_End, _End]:
    """Return source and destination of a tuple; both ends of an ICMP flow have its id."""
    values = dict(word.split(b"=", 1) for word in words.split())
    id_ = values.get(b"id", b"")
    return (
        (_packed(family, values[b"src"]), values.get(b"sport", values.get(b"srckey", id_))),
        (_packed(family, values[b"dst"]), values.get(b"dport", values.get(b"dstkey", id_))),
    )


def _packed(family: bytes, address: bytes) -> bytes:
    kind_ = socket.AF_INET if family == b"ipv4" else socket.AF_INET6
    try:
        return socket.inet_pton(kind_, address.decode())
    except (OSError, UnicodeDecodeError):
        raise Malformed("nf_conntrack: an address that cannot be understood") from None
