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
    TCP_STATES,
    TRANSLATED,
    WITH_PORTS,
    Flow,
    Kind,
    Marks,
    PortUse,
    Reading,
    Towards,
    kind,
    most_used,
)
from netfilter_exporter.kernel.errors import Malformed
from netfilter_exporter.rules.families import Family

_FAMILIES = {b"ipv4": Family.IPV4, b"ipv6": Family.IPV6}
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


_DPORT, _ZONE = b"dport=", b"zone="
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


class _Ports:
    """The ports that count towards a destination, and how many were found."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.found = 0


class ListedPorts:
    """Counts the ports that open flows of the default zone use towards some destinations.

    It finds words by their place and parses no line: a table has hundreds of thousands.
    """

    def __init__(self, wanted: Mapping[Towards, tuple[int, int]]) -> None:
        """`wanted` are the first and the last port that count, by destination."""
        self._wanted = {towards: _Ports(*ports) for towards, ports in wanted.items()}
        self._heads: dict[bytes, dict[bytes, _Ports]] = {}
        for towards, ports in self._wanted.items():
            protocols = self._heads.setdefault(_head(towards), {})
            protocols[str(towards.protocol).encode()] = ports

    @property
    def found(self) -> dict[Towards, int]:
        """How many were found."""
        return {towards: ports.found for towards, ports in self._wanted.items()}

    def take(self, lines: Iterable[bytes]) -> None:
        """Count in whole lines; raises `Malformed`."""
        heads = self._heads
        for line in lines:
            reply = line.rfind(b"src=")
            port = line.find(_DPORT, reply) + len(_DPORT)
            protocols = heads.get(line[reply:port])
            if protocols:
                _count(protocols, line, port)


def _count(protocols: Mapping[bytes, _Ports], line: bytes, place: int) -> None:
    """Count the port that stands at a place of a line, where its flow is open."""
    words = line.split(None, 6)
    number, _, rest = line[place:].partition(b" ")
    if len(words) < 6 or not number.isdigit():
        raise Malformed("nf_conntrack: a line that cannot be understood")
    ports = protocols.get(words[3])
    if not ports or words[5] in _CLOSING or (_ZONE in rest and b"zone=0 " not in rest):
        return
    ports.found += ports.first <= int(number) <= ports.last


def _head(towards: Towards) -> bytes:
    """Return the reply of each flow to this destination, as a line has it, without the port."""
    source, destination = (
        _text(towards.family, end) for end in (towards.destination, towards.address)
    )
    return b"src=%b dst=%b sport=%d %b" % (source, destination, towards.port, _DPORT)


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
