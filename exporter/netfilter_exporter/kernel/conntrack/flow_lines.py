"""Entries in the lines of /proc/net/nf_conntrack.

Source: ct_seq_show and print_tuple (net/netfilter/nf_conntrack_standalone.c, v6.18). The lines hold
no id and no status bits: an entry is known by its original tuple and zone.
"""

from __future__ import annotations

import functools
import re
import socket
from collections import Counter
from collections.abc import Iterable
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

    @property
    def key(self) -> bytes:
        """What it is known by."""
        return b" ".join((self.family, self.protocol, self.original, self.zone))


def reading(content: bytes, *, complete: bool) -> Reading:
    """Return the reading of whole lines; the error of one that is not understood names no flow."""
    lines = [Line(*words) for words in _LINE.findall(content)]
    if len(lines) != content.count(b"\n"):
        raise Malformed("nf_conntrack: a line that cannot be understood")
    census: Counter[Kind] = Counter()
    for words, number in Counter(map(_decisive, lines)).items():
        census[_kind(*words)] += number
    keys = [line.key for line in lines]
    use = functools.partial(_port_use, lines)

    def flow(index: int) -> Flow:
        return parse_flow(lines[index])

    return Reading("procfs", keys, census, flow, complete, port_use=use)


_DEFAULT_ZONE = frozenset({b"", b"zone=0"})
_CLOSING = frozenset(state.upper().encode() for state in CLOSING)


def _port_use(lines: Iterable[Line], number: int) -> list[PortUse]:
    """Group flows by their reply tuple without its last port, which is the translated one."""
    groups: dict[tuple[bytes, bytes], list[Line]] = {}
    for line in lines:
        head, has_ports, _ = line.reply.partition(b" dport=")
        if has_ports and line.state not in _CLOSING and line.zone in _DEFAULT_ZONE:
            groups.setdefault((line.protocol, head), []).append(line)
    return most_used(groups.values(), number, _towards, parse_flow, _port)


def _towards(line: Line) -> Towards | None:
    protocol = int(line.protocol)
    if protocol not in NUMBERS_WITH_PORTS:
        return None
    answering, answered = _ends(line.family, line.reply)
    family = _FAMILIES[line.family]
    return Towards(family, protocol, answered[0], answering[0], int(answering[1]))


def _port(line: Line) -> int:
    """Return the source port, translated, of a flow of a protocol with ports."""
    return int(_ends(line.family, line.reply)[1][1])


def _decisive(line: Line) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    return line.family, line.protocol, line.state, line.unreplied, line.mark


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
    kind_ = _kind(*_decisive(line))
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
