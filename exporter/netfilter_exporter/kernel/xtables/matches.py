"""The matches of xtables, in both backends: iptables-nft carries them through nftables.

Source: include/uapi/linux/netfilter/xt_*.h (v6.18), structs by the revision that each names.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Callable

from netfilter_exporter.kernel.rule_parts import (
    MATCH,
    UNKNOWN,
    MatchAt,
    Part,
    known,
    opaque_bytes,
)
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.match import (
    DESTINATIONS,
    SOURCES,
    Field,
    InIpset,
    Match,
    Opaque,
    masked,
    ranged,
)

_PORT_MAX = 0xFFFF

Decoded = tuple[Match, ...]


def _ports(field: Field, first: int, last: int, *, negated: bool) -> Decoded:
    if (first, last) == (0, _PORT_MAX) and not negated:
        return ()
    return (ranged(field, [(first, last)], negated=negated),)


def _tcp(info: bytes) -> Decoded:
    """Decode struct xt_tcp: ports, a TCP option, flags; XT_TCP_INV_*."""
    *ports, option, mask, compared, inverted = struct.unpack_from("=4H4B", info)
    found = _ports(Field.SOURCE_PORT, *ports[:2], negated=bool(inverted & 0x01))
    found += _ports(Field.DESTINATION_PORT, *ports[2:], negated=bool(inverted & 0x02))
    if option or mask:
        rest = bytes((option, mask, compared, inverted & 0x0C))
        found += (Opaque("xt tcp", rest, stable=True),)
    return found


def _udp(info: bytes) -> Decoded:
    """Decode struct xt_udp: ports, XT_UDP_INV_*; udplite's is the same."""
    *ports, inverted = struct.unpack_from("=4HB", info)
    found = _ports(Field.SOURCE_PORT, *ports[:2], negated=bool(inverted & 0x01))
    return found + _ports(Field.DESTINATION_PORT, *ports[2:], negated=bool(inverted & 0x02))


_MULTIPORT = {0: Field.SOURCE_PORT, 1: Field.DESTINATION_PORT}  # XT_MULTIPORT_EITHER is another


def _multiport(info: bytes) -> Decoded:
    """Decode struct xt_multiport_v1: 15 ports, with a flag that a range begins there."""
    which, count = info[0], min(info[1], 15)
    ports = struct.unpack_from("=15H", info, 2)[:count]
    begins, inverted = info[32 : 32 + count], bool(info[47])
    if which not in _MULTIPORT:
        return opaque_bytes("xt multiport", bytes((which,)), info)
    pairs = []
    numbers = iter(range(count))
    for at in numbers:
        if begins[at] and at + 1 < count:
            pairs.append((ports[at], ports[next(numbers)]))
        else:
            pairs.append((ports[at], ports[at]))
    return (ranged(_MULTIPORT[which], pairs, negated=inverted),)


def _marked(field: Field) -> Callable[[bytes], Decoded]:
    def decode(info: bytes) -> Decoded:
        """Decode struct xt_mark_mtinfo1, and that of connmark: mark, mask, invert."""
        mark, mask, inverted = struct.unpack_from("=2IB", info)
        return (masked(field, mask, mark, negated=bool(inverted)),)

    return decode


def _addrtype(info: bytes) -> Decoded:
    """Decode struct xt_addrtype_info_v1: masks of RTN_*, XT_ADDRTYPE_*."""
    source, destination, flags = struct.unpack_from("=HHI", info)
    if flags & 0x0C:  # limited to one interface
        return opaque_bytes("xt addrtype", b"", info)
    found: Decoded = ()
    for field, types, inverted in (
        (Field.SOURCE_TYPE, source, flags & 0x01),
        (Field.DESTINATION_TYPE, destination, flags & 0x02),
    ):
        if types:
            found += (ranged(field, _bits(types), negated=bool(inverted)),)
    return found


def _bits(mask: int) -> Iterable[tuple[int, int]]:
    return ((bit, bit) for bit in range(mask.bit_length()) if mask >> bit & 1)


_CT_SEEN = 0x0F  # invalid, established, related, new: XT_STATE_* and XT_CONNTRACK_STATE_*
#: XT_STATE_UNTRACKED, as in nftables. In xt_conntrack that bit is XT_CONNTRACK_STATE_SNAT.
_CT_UNTRACKED, _XT_CONNTRACK_STATE_UNTRACKED = 0x40, 0x100
#: match_flags, invert_flags and state_mask of struct xt_conntrack_mtinfo2 and 3.
_CT_INFO = struct.Struct("=3H")
_CT_INFO_AT = 146
_XT_CONNTRACK_STATE = 1


def _state(states: int, *, negated: bool) -> Decoded:
    return (ranged(Field.CT_STATE, ((b, b) for b in _powers(states)), negated=negated),)


def _powers(mask: int) -> Iterable[int]:
    return (1 << bit for bit, _ in _bits(mask))


def _conntrack(revision: int, message: memoryview, info: slice) -> Part:
    """Decode struct xt_conntrack_mtinfo3 (and 2): of it only the states have a field here."""
    at = info.start + _CT_INFO_AT
    flags, inverted, states = _CT_INFO.unpack_from(message, at)
    untracked = states & _XT_CONNTRACK_STATE_UNTRACKED
    seen = states & ~_XT_CONNTRACK_STATE_UNTRACKED
    if flags == _XT_CONNTRACK_STATE and not seen & ~_CT_SEEN:
        wanted = seen | (_CT_UNTRACKED if untracked else 0)
        (state,) = _state(wanted, negated=bool(inverted & _XT_CONNTRACK_STATE))
        rest = slice(info.start, at), slice(at + _CT_INFO.size, info.stop)
        return Part(MATCH, ignored=rest, matches=(known(state),))
    token = b"conntrack %d" % revision
    return Part(MATCH, matches=(MatchAt(opaque_bytes, ("xt", token), (info,)),))


def _old_state(info: bytes) -> Decoded:
    """Decode struct xt_state_info."""
    (states,) = struct.unpack_from("=I", info)
    return _state(states & (_CT_SEEN | _CT_UNTRACKED), negated=False)


def _owner(info: bytes) -> Decoded:
    """Decode struct xt_owner_match_info: user and group ranges, XT_OWNER_*."""
    *ids, compared, inverted = struct.unpack_from("=4I2B", info)
    found: Decoded = ()
    for number, field in enumerate((Field.USER, Field.GROUP)):
        if compared & 1 << number:
            pair = ids[2 * number], ids[2 * number + 1]
            found += (ranged(field, [pair], negated=bool(inverted & 1 << number)),)
    if compared & ~0x03:
        found += (Opaque("xt owner", bytes((compared, inverted)), stable=True),)
    return found


def _iprange(family: Family) -> Callable[[bytes], Decoded]:
    fields = SOURCES[family], DESTINATIONS[family]

    def decode(info: bytes) -> Decoded:
        """Decode struct xt_iprange_mtinfo: four addresses of 16 bytes, IPRANGE_*."""
        flags = info[64]
        found: Decoded = ()
        for number, field in enumerate(fields):
            if flags & 0x01 << number:
                at = 32 * number
                pair = tuple(int.from_bytes(info[a : a + field.size], "big") for a in (at, at + 16))
                inverted = bool(flags & 0x10 << number)
                found += (ranged(field, [(pair[0], pair[1])], negated=inverted),)
        return found

    return decode


def _set(info: bytes) -> Decoded:
    """Decode the struct xt_set_info at the beginning: index, dimensions, IPSET_INV_MATCH."""
    number, dimensions, flags = struct.unpack_from("=H2B", info)
    rest = info[4:].rstrip(b"\0")
    found: Decoded = (InIpset(number, dimensions, flags & ~0x01, bool(flags & 0x01)),)
    return found if not rest else (*found, Opaque("xt set", rest, stable=True))


#: By name and revision: the least size of its data, and the decoder.
_DECODERS: dict[tuple[bytes, int], tuple[int, Callable[[bytes], Decoded]]] = {
    (b"tcp", 0): (12, _tcp),
    (b"udp", 0): (9, _udp),
    (b"udplite", 0): (9, _udp),
    (b"multiport", 1): (48, _multiport),
    (b"mark", 1): (9, _marked(Field.MARK)),
    (b"connmark", 1): (9, _marked(Field.CT_MARK)),
    (b"addrtype", 1): (8, _addrtype),
    (b"state", 0): (4, _old_state),
    (b"owner", 1): (18, _owner),
    (b"set", 1): (4, _set),
    (b"set", 2): (4, _set),
    (b"set", 3): (4, _set),
    (b"set", 4): (4, _set),
}
_IPRANGE = {family: (65, _iprange(family)) for family in Family}

#: Extensions that accept the same packet again, and whose data holds nothing of the kernel's own.
_STABLE = frozenset(
    b"ah cgroup devgroup dscp ecn esp eui64 frag helper hl icmp icmp6 length mac mh physdev pkttype"
    b" policy realm rpfilter rt socket tos ttl".split()
)
#: Bytes that are kept of one whose data is just compared: struct xt_policy_info has 308.
_MOST = 320


def xt_match(
    name: bytes, revision: int, message: memoryview, info: slice, family: Family | None
) -> Part:
    """Return what a match adds to its rule; `info` is where its private data is."""
    if name == b"comment":  # it matches everything
        return Part(ignored=(info,))
    size = info.stop - info.start
    if name == b"conntrack" and revision in {2, 3} and size >= _CT_INFO_AT + _CT_INFO.size:
        return _conntrack(revision, message, info)
    decoder = _DECODERS.get((name, revision))
    if (name, revision) == (b"iprange", 1) and family:
        decoder = _IPRANGE[family]
    if decoder and size >= decoder[0]:
        return Part(MATCH, matches=(MatchAt(decoder[1], (), (info,)),))
    if name in _STABLE and size <= _MOST:
        token = b"%b %d" % (name, revision)
        return Part(MATCH, matches=(MatchAt(opaque_bytes, ("xt", token), (info,)),))
    what = Opaque("xt " + name.decode("ascii", "replace"))
    return UNKNOWN._replace(ignored=(info,), matches=(known(what),))
