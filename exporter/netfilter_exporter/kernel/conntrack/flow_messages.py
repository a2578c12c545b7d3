"""Entries in the datagrams of a ctnetlink dump.

Source: ctnetlink_fill_info (net/netfilter/nf_conntrack_netlink.c, v6.18). One regular expression
finds what matters in an entry as kernels since v5.6 write it, at a tenth of the cost of walking
the attributes. Entries in another order are walked.
"""

from __future__ import annotations

import functools
import itertools
import re
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from netfilter_exporter.kernel.addresses import SIZES
from netfilter_exporter.kernel.conntrack.ctnetlink import (
    CTA_ID,
    CTA_IP,
    CTA_PROTO_DST_PORT,
    CTA_PROTO_NUM,
    CTA_PROTO_SRC_PORT,
    CTA_TUPLE_IP,
    CTA_TUPLE_ORIG,
    CTA_TUPLE_PROTO,
    CTA_TUPLE_REPLY,
)
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
from netfilter_exporter.kernel.netlink.attributes import (
    NLA_F_NESTED,
    Attributes,
    attribute_map,
    find_attribute,
)
from netfilter_exporter.kernel.netlink.messages import NFGENMSG, nfnetlink_map
from netfilter_exporter.rules.families import Family

# include/uapi/linux/netfilter/nfnetlink_conntrack.h (v6.18)
CTA_STATUS = 3
CTA_PROTOINFO = 4
CTA_TIMEOUT = 7
CTA_MARK = 8
CTA_USE = 11
CTA_ZONE = 18
CTA_TUPLE_ZONE = 3
CTA_PROTO_ICMP_ID, CTA_PROTO_ICMPV6_ID = 4, 7
CTA_PROTOINFO_TCP = 1
CTA_PROTOINFO_TCP_STATE = 1

# include/uapi/linux/netfilter/nf_conntrack_common.h (v6.18)
IPS_SEEN_REPLY = 1 << 1
IPS_ASSURED = 1 << 2
IPS_OFFLOAD = 1 << 14

#: By nfgen_family: the types of a source and a destination in CTA_TUPLE_IP.
_ADDRESSES = {bytes([family.nfproto]): (family, *types) for family, types in CTA_IP.items()}
#: Where CTA_PROTO_NUM is in CTA_TUPLE_ORIG: behind CTA_TUPLE_IP, as all kernels write it.
_NUMBER = dict(zip(_ADDRESSES, (slice(32, 33), slice(56, 57))))
_NOTHING = slice(0)
_SIZES = tuple((*CTA_IP[family], size) for family, size in SIZES.items())


class Entry(NamedTuple):
    """The bytes of an entry that decide; nests are with their headers."""

    nfproto: bytes
    original: bytes  #: CTA_TUPLE_ORIG
    reply: bytes  #: CTA_TUPLE_REPLY
    zone: bytes  #: empty for the default zone
    status: bytes
    id: bytes
    tcp_state: bytes  #: empty for other protocols, and for offloaded flows


def parse_entry(payload: memoryview) -> Entry:
    """Return the entry of a message."""
    return Entry._make(_fields(payload))


def _fields(payload: memoryview) -> tuple[bytes, ...]:
    """Return the values of an entry: naming those of thousands would cost as much again."""
    found = _ENTRY.match(payload)
    return found.groups(b"") if found else _walk(payload)


def parse_kind(entry: Entry) -> Kind:
    """Return the kind of an entry."""
    family, _, _ = _family(entry)
    protocol = attribute_map(_nests(entry.original)[CTA_TUPLE_PROTO])
    status = int.from_bytes(entry.status, "big")
    bits = (IPS_SEEN_REPLY, IPS_ASSURED, IPS_OFFLOAD)
    marks = Marks(*(bool(status & bit) for bit in bits))
    return kind(family, protocol[CTA_PROTO_NUM][0], _tcp_state(entry.tcp_state), marks)


def parse_flow(entry: Entry) -> Flow:
    """Return the flow of an entry.

    It is translated where the reply direction is not the mirror of the original one: that is when
    the kernel sets IPS_SRC_NAT and IPS_DST_NAT (nf_nat_setup_info, net/netfilter/nf_nat_core.c).
    """
    source, destination = _ends(entry, entry.original)
    answering, answered = _ends(entry, entry.reply)
    translated = TRANSLATED[answered != source, answering != destination]
    kind_ = parse_kind(entry)
    port = int.from_bytes(answering[1], "big") if kind_.protocol in WITH_PORTS else None
    return Flow(kind_, source[0], answering[0], port, translated)


def reading(payloads: Iterable[memoryview], *, complete: bool) -> Reading:
    """Return the reading of the messages of a dump."""
    entries = [_fields(payload) for payload in payloads]
    decisive = [
        (nfproto, status, tcp_state, original[_NUMBER.get(nfproto, _NOTHING)])
        for nfproto, original, _, _, status, _, tcp_state in entries
    ]
    examples = dict(zip(decisive, entries))  # of entries of one kind, one has to be parsed
    census: Counter[Kind] = Counter()
    for what, number in Counter(decisive).items():
        census[parse_kind(Entry._make(examples[what]))] += number
    # An id is used again, but hardly with the same tuple.
    keys = [id_ + zone + original for _, original, _, zone, _, id_, _ in entries]
    use = functools.partial(_port_use, entries)

    def flow(index: int) -> Flow:
        return parse_flow(Entry._make(entries[index]))

    return Reading("ctnetlink", keys, census, flow, complete, port_use=use)


#: The last attribute of a tuple with ports is that of its destination.
_LAST_PORT = 8
_CLOSING = frozenset(bytes([TCP_STATES.index(state)]) for state in CLOSING)


def _port_use(entries: Sequence[tuple[bytes, ...]], number: int, fewest: int) -> list[PortUse]:
    """Group flows by their reply tuple without its last port, which is the translated one."""
    groups: dict[tuple[bytes, bytes], list[tuple[bytes, ...]]] = {}
    for entry in entries:
        nfproto, _, reply, zone, _, _, tcp_state = entry
        if not zone and tcp_state not in _CLOSING:
            groups.setdefault((nfproto, reply[:-_LAST_PORT]), []).append(entry)
    large = [[*map(Entry._make, group)] for group in groups.values() if len(group) >= fewest]
    return most_used(large, number, parse_towards, _is_translated, parse_port)


def _is_translated(entry: Entry) -> bool:
    return parse_flow(entry).translated.source


def is_closing(entry: Entry) -> bool:
    """Return whether a flow of TCP has ended, so that its port may be used again."""
    return entry.tcp_state in _CLOSING


def parse_towards(entry: Entry) -> Towards | None:
    """Return where a flow goes, and from which address; None for a protocol without ports."""
    family, _, _ = _family(entry)
    protocol = attribute_map(_nests(entry.reply)[CTA_TUPLE_PROTO])[CTA_PROTO_NUM][0]
    if protocol not in NUMBERS_WITH_PORTS:
        return None
    answering, answered = _ends(entry, entry.reply)
    return Towards(family, protocol, answered[0], answering[0], int.from_bytes(answering[1], "big"))


def parse_shared(entry: Entry) -> bytes:
    """Return what flows with ports have in common that share them: all but the translated port."""
    return entry.nfproto + entry.reply[:-_LAST_PORT]


def parse_port(entry: Entry) -> int:
    """Return the source port, translated, of a flow of a protocol with ports."""
    return int.from_bytes(entry.reply[4 - _LAST_PORT : 6 - _LAST_PORT], "big")


# -- parts of an entry -------------------------------------------------------------------------

_End = tuple[bytes, bytes]  #: an address, and a port or an ICMP id


def _family(entry: Entry) -> tuple[Family, int, int]:
    if entry.nfproto not in _ADDRESSES:
        raise Malformed(f"ctnetlink: an entry of family {entry.nfproto!r}")
    return _ADDRESSES[entry.nfproto]


def _nests(tuple_: bytes) -> Attributes:
    return attribute_map(memoryview(tuple_), _HEADER)


def _ends(entry: Entry, tuple_: bytes) -> tuple[_End, _End]:
    """Return source and destination of a tuple.

    Both ends of an ICMP flow have its id. Any other protocol has none.
    """
    _, source, destination = _family(entry)
    nests = _nests(tuple_)
    addresses = attribute_map(nests[CTA_TUPLE_IP])
    protocol = attribute_map(nests[CTA_TUPLE_PROTO])
    id_ = protocol.get(CTA_PROTO_ICMP_ID, protocol.get(CTA_PROTO_ICMPV6_ID, memoryview(b"")))
    return (
        (bytes(addresses[source]), bytes(protocol.get(CTA_PROTO_SRC_PORT, id_))),
        (bytes(addresses[destination]), bytes(protocol.get(CTA_PROTO_DST_PORT, id_))),
    )


def _tcp_state(number: bytes) -> str:
    if not number:
        return ""
    if number[0] >= len(TCP_STATES):
        raise Malformed(f"ctnetlink: TCP state {number[0]}")
    return TCP_STATES[number[0]]


def _walk(payload: memoryview) -> Entry:
    """Return an entry by walking its attributes."""
    found = nfnetlink_map(payload)
    path = (CTA_PROTOINFO, CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE)
    state = find_attribute(payload, NFGENMSG.size, len(payload), path)
    return Entry(
        bytes(payload[:1]),
        _whole(found, CTA_TUPLE_ORIG),
        _whole(found, CTA_TUPLE_REPLY),
        bytes(found.get(CTA_ZONE, b"")),
        bytes(found[CTA_STATUS]),
        bytes(found[CTA_ID]),
        bytes(payload[state[0]]) if state else b"",
    )


def _whole(found: Attributes, type_: int) -> bytes:
    """Return a nest with its header."""
    return struct.pack("=HH", _HEADER + len(found[type_]), type_ | NLA_F_NESTED) + found[type_]


# -- the expression ----------------------------------------------------------------------------

_HEADER = 4  # struct nlattr
_Part = tuple[bytes, int]  #: an expression, and how many bytes it matches


def _attribute(type_: int, size: int, value: bytes = b"") -> _Part:
    """Return the expression of an attribute with a value of `size` bytes."""
    padding = -size % 4
    head = re.escape(struct.pack("=HH", _HEADER + size, type_))
    return head + (value or b"." * size) + b"." * padding, _HEADER + size + padding


def _nest(type_: int, *parts: _Part) -> _Part:
    size = _HEADER + sum(size for _, size in parts)
    head = re.escape(struct.pack("=HH", size, type_ | NLA_F_NESTED))
    return head + b"".join(part for part, _ in parts), size


def _tuple(type_: int) -> bytes:
    """Return the expression of a tuple: with ports, with an ICMP id, or with neither."""
    number = _attribute(CTA_PROTO_NUM, 1)
    rests = [
        (_attribute(CTA_PROTO_SRC_PORT, 2), _attribute(CTA_PROTO_DST_PORT, 2)),
        *(
            (_attribute(id_, 2), _attribute(id_ + 1, 1), _attribute(id_ + 2, 1))  # type and code
            for id_ in (CTA_PROTO_ICMP_ID, CTA_PROTO_ICMPV6_ID)
        ),
        (),
    ]
    zones: list[tuple[_Part, ...]] = [(), (_attribute(CTA_TUPLE_ZONE, 2),)]
    choices = []
    for zone, rest, (source, destination, size) in itertools.product(zones, rests, _SIZES):
        addresses = _nest(CTA_TUPLE_IP, _attribute(source, size), _attribute(destination, size))
        choices.append(_nest(type_, addresses, _nest(CTA_TUPLE_PROTO, number, *rest), *zone)[0])
    return b"(" + b"|".join(choices) + b")"


def _optional(*parts: bytes) -> bytes:
    return b"(?:" + b"".join(parts) + b")?"


def _expression() -> re.Pattern[bytes]:
    """Return the expression of an entry up to the state of TCP."""
    state, _ = _attribute(CTA_PROTOINFO_TCP_STATE, 1, b"(.)")
    nests = [struct.pack("=H", t | NLA_F_NESTED) for t in (CTA_PROTOINFO, CTA_PROTOINFO_TCP)]
    protoinfo = b"".join(b".." + re.escape(nest) for nest in nests) + state
    return re.compile(
        b"".join(
            (
                b"(.)...",  # struct nfgenmsg
                _tuple(CTA_TUPLE_ORIG),
                _tuple(CTA_TUPLE_REPLY),
                _optional(_attribute(CTA_ZONE, 2, b"(..)")[0]),
                _attribute(CTA_STATUS, 4, b"(....)")[0],
                _optional(_attribute(CTA_MARK, 4)[0]),
                _attribute(CTA_ID, 4, b"(....)")[0],
                _optional(_attribute(CTA_USE, 4)[0]),
                _optional(_attribute(CTA_TIMEOUT, 4)[0], _optional(protoinfo)),
            )
        ),
        re.DOTALL,
    )


_ENTRY = _expression()
