"""The targets of xtables, in both backends.

Source: include/uapi/linux/netfilter/nf_nat.h, xt_CT.h and xt_NFQUEUE.h (v6.18).
"""

from __future__ import annotations

import struct

from netfilter_exporter.kernel import names
from netfilter_exporter.kernel.rule_parts import NO_FIELDS, NOTHING, NatAt, Part
from netfilter_exporter.rules.detail import NatTarget, Queue
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.match import SOURCES, Field
from netfilter_exporter.rules.model import Action, Rule, Verdict

XT_CT_NOTRACK = 1 << 0
XT_CT_ZONE_DIR_ORIG, XT_CT_ZONE_DIR_REPL, XT_CT_ZONE_MARK = 1 << 2, 1 << 3, 1 << 4
#: struct xt_ct_target_info: flags, zone, events of connections and expectations, helper
_XT_CT = struct.Struct("=HH8x16s")

NF_NAT_RANGE_MAP_IPS = 1 << 0
NF_NAT_RANGE_PROTO_SPECIFIED = 1 << 1
_NAT_IPV4 = struct.Struct("=II4s4s2s2s")  # struct nf_nat_ipv4_multi_range_compat with one range
_NAT = struct.Struct("=I16s16s2s2s")  # struct nf_nat_range, with which nf_nat_range2 begins

#: The targets that translate.
ACTIONS = {
    b"MASQUERADE": Action.MASQUERADE,
    b"SNAT": Action.SNAT,
    b"DNAT": Action.DNAT,
    b"REDIRECT": Action.REDIRECT,
    b"NETMAP": Action.NETMAP,
}
#: Targets after which the packet is gone, or is with a program of this host.
_FINAL = {b"REJECT": Verdict.DROP, b"TPROXY": Verdict.ACCEPT}
#: NPTv6: both write an address into packets (net/ipv6/netfilter/ip6t_NPT.c, v6.18).
_REWRITING = frozenset({b"SNPT", b"DNPT"})
#: Fields that a target writes; one that is in neither table may write any.
_WRITES = {
    b"MARK": frozenset({Field.MARK}),
    b"HMARK": frozenset({Field.MARK}),
    b"CONNMARK": frozenset({Field.MARK, Field.CT_MARK}),
    **dict.fromkeys(
        b"CLASSIFY CONNSECMARK DSCP ECN HL SECMARK TCPMSS TCPOPTSTRIP TOS TTL".split(),
        frozenset({Field.OTHER}),
    ),
}
_WRITES_NONE = frozenset(
    b"AUDIT CHECKSUM CT IDLETIMER LED LOG NFLOG NOTRACK RATEEST SYNPROXY TRACE ULOG".split()
)


def xt_target(
    name: bytes, revision: int, message: memoryview, info: slice, family: Family | None
) -> Part:
    """Return what a target does to its rule; `info` is where its private data is."""
    if name == b"CT":
        return _ct(message, info)
    if name in ACTIONS:
        nat = _nat(revision, info, family)
        part = Part(Rule(action=ACTIONS[name], extension=True), nat=nat)
        return part if nat else part._replace(ignored=(info,))
    if name == b"NFQUEUE":
        return _nfqueue(revision, message, info)
    effect = NOTHING
    if name == b"NOTRACK":
        effect = Rule(notrack=True)
    elif name in _REWRITING:
        effect = Rule(rewrites=True)
    elif name in _FINAL:
        effect = Rule(verdict=_FINAL[name])
    final = name in _FINAL
    writes = _WRITES.get(name, NO_FIELDS if name in _WRITES_NONE or final else None)
    return Part(effect, ignored=(info,), writes=writes)


def _ct(message: memoryview, info: slice) -> Part:
    if info.stop - info.start < _XT_CT.size:
        return Part()
    flags, zone, helper = _XT_CT.unpack_from(message, info.start)
    partly = flags & (XT_CT_ZONE_DIR_ORIG | XT_CT_ZONE_DIR_REPL | XT_CT_ZONE_MARK)
    effect = Rule(
        notrack=bool(flags & XT_CT_NOTRACK),
        zone=bool(zone or flags & XT_CT_ZONE_MARK),
        zone_both_ways=bool(zone) and not partly,
        helper=names.decode(helper),
    )
    return Part(effect, ignored=(slice(info.start + _XT_CT.size, info.stop),))


def _nat(revision: int, info: slice, family: Family | None) -> NatAt | None:
    """Return how the range is read: SNAT, DNAT and MASQUERADE of IPv4 begin with revision 0."""
    size = info.stop - info.start
    if revision == 0 and family is Family.IPV4 and size >= _NAT_IPV4.size:
        return NatAt(_range_ipv4, (), (slice(info.start, info.start + _NAT_IPV4.size),))
    if family and size >= _NAT.size:
        return NatAt(_range, (family,), (slice(info.start, info.start + _NAT.size),))
    return None


def _range_ipv4(info: bytes) -> NatTarget:
    """Read a struct nf_nat_ipv4_multi_range_compat."""
    _, flags, *addresses, first, last = _NAT_IPV4.unpack(info)
    return _target(Family.IPV4, flags, addresses, first, last)


def _range(family: Family, info: bytes) -> NatTarget:
    """Read a struct nf_nat_range."""
    flags, *addresses, first, last = _NAT.unpack(info)
    size = SOURCES[family].size
    return _target(family, flags, [address[:size] for address in addresses], first, last)


def _target(family: Family, flags: int, addresses: list[bytes], *ports: bytes) -> NatTarget:
    low, high = (int.from_bytes(address, "big") for address in addresses)
    first, last = (int.from_bytes(port, "big") for port in ports)
    return NatTarget(
        family,
        (low, high) if flags & NF_NAT_RANGE_MAP_IPS else None,
        (first, last) if flags & NF_NAT_RANGE_PROTO_SPECIFIED else None,
    )


def _nfqueue(revision: int, message: memoryview, info: slice) -> Part:
    """Decode struct xt_NFQ_info, _v1, _v2 (with bypass) or _v3 (with NFQ_FLAG_*)."""
    numbers = struct.unpack_from("=4H", message[info].tobytes().ljust(8, b"\0"))
    first, total, flags = numbers[0], numbers[1] if revision else 1, numbers[2]
    queue = Queue(first, first + max(total, 1) - 1, bool(revision > 1 and flags & 0x01))
    return Part(Rule(verdict=Verdict.DROP), queue=queue)
