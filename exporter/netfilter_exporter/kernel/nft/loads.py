"""Expressions that load something into a register, or change its value."""

from __future__ import annotations

import dataclasses
import struct

from netfilter_exporter.kernel.nft import uapi
from netfilter_exporter.kernel.nft.expression import Expression
from netfilter_exporter.kernel.nft.registers import (
    Mask,
    Segment,
    Source,
    State,
    has_address,
    payload_segments,
)
from netfilter_exporter.kernel.nft.verdicts import parse_verdict
from netfilter_exporter.kernel.rule_parts import (
    MATCH,
    UNKNOWN,
    Part,
)
from netfilter_exporter.rules.match import Field
from netfilter_exporter.rules.model import Rule


def immediate(given: Expression, state: State) -> Part:
    register = given.number(uapi.NFTA_IMMEDIATE_DREG)
    if register != uapi.NFT_REG_VERDICT:
        value = given.inside(uapi.NFTA_IMMEDIATE_DATA, uapi.NFTA_DATA_VALUE)
        state.registers.load(register, Source("immediate", constant=value))
        return Part(ignored=given.but(uapi.NFTA_IMMEDIATE_DREG))
    verdict, chain = parse_verdict(given.content(uapi.NFTA_IMMEDIATE_DATA))
    at = given.inside(uapi.NFTA_IMMEDIATE_DATA, uapi.NFTA_DATA_VERDICT, uapi.NFTA_VERDICT_CHAIN)
    named = (at,) if at and chain else ()
    return Part(Rule(verdict=verdict), targets=named)


#: What NFT_META_* loads, in the host's byte order where it is a number of more than one byte.
_META = {
    uapi.NFT_META_PROTOCOL: Field.ETHERTYPE,
    uapi.NFT_META_MARK: Field.MARK,
    uapi.NFT_META_IIF: Field.INPUT_INDEX,
    uapi.NFT_META_OIF: Field.OUTPUT_INDEX,
    uapi.NFT_META_IIFNAME: Field.INPUT_INTERFACE,
    uapi.NFT_META_OIFNAME: Field.OUTPUT_INTERFACE,
    uapi.NFT_META_SKUID: Field.USER,
    uapi.NFT_META_SKGID: Field.GROUP,
    uapi.NFT_META_NFPROTO: Field.FAMILY,
    uapi.NFT_META_L4PROTO: Field.PROTOCOL,
}
_HOST_ORDER = frozenset(
    {
        Field.MARK,
        Field.INPUT_INDEX,
        Field.OUTPUT_INDEX,
        Field.USER,
        Field.GROUP,
        Field.CT_STATE,
        Field.CT_STATUS,
        Field.CT_MARK,
        Field.SOURCE_TYPE,
        Field.DESTINATION_TYPE,
    }
)
_UNSTABLE_META = frozenset({uapi.NFT_META_CPU, uapi.NFT_META_PRANDOM})
_UNSTABLE_CT = frozenset(
    {uapi.NFT_CT_EXPIRATION, uapi.NFT_CT_PKTS, uapi.NFT_CT_BYTES, uapi.NFT_CT_AVGPKT}
)


def _whole(field: Field | None) -> tuple[Segment, ...]:
    return (Segment(field, 0, field.size),) if field else ()


def meta(given: Expression, state: State) -> Part:
    key = given.number(uapi.NFTA_META_KEY)
    field = _META.get(key)
    if given.has(uapi.NFTA_META_SREG):
        return Part(writes=frozenset({field or Field.OTHER}))
    source = Source(
        "meta",
        bytes((key & 0xFF,)),
        _whole(field),
        stable=key not in _UNSTABLE_META,
        host_order=field in _HOST_ORDER,
        meta=key,
    )
    state.registers.load(given.number(uapi.NFTA_META_DREG), source)
    return Part()


_CT = {
    uapi.NFT_CT_STATE: Field.CT_STATE,
    uapi.NFT_CT_STATUS: Field.CT_STATUS,
    uapi.NFT_CT_MARK: Field.CT_MARK,
}


def ct(given: Expression, state: State) -> Part:
    key = given.number(uapi.NFTA_CT_KEY)
    field = _CT.get(key)
    if given.has(uapi.NFTA_CT_SREG):
        effect = _zone(given, state) if key == uapi.NFT_CT_ZONE else Rule()
        return Part(effect, writes=frozenset({field or Field.OTHER}))
    source = Source(
        "ct",
        bytes(given.message[given.all]),  # it may name a direction
        _whole(field),
        stable=key not in _UNSTABLE_CT,
        host_order=field is not None,
        may_fail=True,
    )
    state.registers.load(given.number(uapi.NFTA_CT_DREG), source)
    return Part(MATCH)


def _zone(given: Expression, state: State) -> Rule:
    """Return that a zone is set; a direction stands there only if it is for one (v6.18)."""
    source = state.registers.get(given.number(uapi.NFTA_CT_SREG))
    constant = source is not None and source.constant is not None
    return Rule(zone=True, zone_both_ways=constant and not given.has(uapi.NFTA_CT_DIRECTION))


def payload(given: Expression, state: State) -> Part:
    where = uapi.NFTA_PAYLOAD_BASE, uapi.NFTA_PAYLOAD_OFFSET, uapi.NFTA_PAYLOAD_LEN
    numbers = [given.number(type_) for type_ in where]
    if given.has(uapi.NFTA_PAYLOAD_SREG):
        effect = Rule(conditional=True, rewrites=has_address(state.families, *numbers))
        return UNKNOWN._replace(effect=effect, ignored=given.but(*where), writes=None)
    source = Source(
        "payload",
        struct.pack("=3I", *numbers),
        payload_segments(numbers[0], numbers[1], numbers[2], state.families),
        may_fail=True,
    )
    state.registers.load(given.number(uapi.NFTA_PAYLOAD_DREG), source)
    return Part(MATCH)


_FIB = {
    uapi.NFTA_FIB_F_SADDR: Field.SOURCE_TYPE,
    uapi.NFTA_FIB_F_DADDR: Field.DESTINATION_TYPE,
}


def fib(given: Expression, state: State) -> Part:
    is_type = given.number(uapi.NFTA_FIB_RESULT) == uapi.NFT_FIB_RESULT_ADDRTYPE
    field = _FIB.get(given.number(uapi.NFTA_FIB_FLAGS)) if is_type else None
    token = bytes(given.message[given.all])
    source = Source("fib", token, _whole(field), host_order=field is not None, may_fail=True)
    state.registers.load(given.number(uapi.NFTA_FIB_DREG), source)
    return Part(MATCH)


def loads_other(name: str, given: Expression, state: State) -> Part:
    """Decode what loads something without a field here, as NFTA_*DREG says."""
    if name not in DREG or not given.has(DREG[name]):
        return UNKNOWN._replace(writes=None)
    source = Source(name, bytes(given.message[given.all]), may_fail=True)
    state.registers.load(given.number(DREG[name]), source)
    return Part(MATCH)


DREG = {"exthdr": 1, "osf": 1, "rt": 1, "socket": 2, "tunnel": 2, "xfrm": 1}


def computes(given: Expression, state: State, *, dreg: int) -> Part:
    """Decode what puts a number into a register that no packet has: numgen, hash."""
    if given.has(dreg):
        state.registers.load(given.number(dreg), Source("computed", stable=False))
    return Part()


def bitwise(given: Expression, state: State) -> Part:
    register = given.number(uapi.NFTA_BITWISE_SREG)
    target = given.number(uapi.NFTA_BITWISE_DREG)
    old = state.registers.get(register)
    mask = given.inside(uapi.NFTA_BITWISE_MASK, uapi.NFTA_DATA_VALUE)
    flips = given.inside(uapi.NFTA_BITWISE_XOR, uapi.NFTA_DATA_VALUE)
    plain = given.number(uapi.NFTA_BITWISE_OP) == uapi.NFT_BITWISE_MASK_XOR and mask and flips
    if old and plain and flips and not any(given.message[flips]) and not old.mask and mask:
        new = dataclasses.replace(old, mask=Mask(mask), meta=None, constant=None)
        state.registers.change(register, target, new)
        return Part(ignored=(mask,))
    state.registers.change(register, target, None)
    return Part()


def byteorder(given: Expression, state: State) -> Part:
    register = given.number(uapi.NFTA_BYTEORDER_SREG)
    old = state.registers.get(register)
    size = given.number(uapi.NFTA_BYTEORDER_SIZE)
    whole = size == given.number(uapi.NFTA_BYTEORDER_LEN)
    new = None
    if old and whole and not old.mask and len(old.segments) == 1 and old.segments[0].size == size:
        new = dataclasses.replace(old, host_order=not old.host_order, meta=None)
    state.registers.change(register, given.number(uapi.NFTA_BYTEORDER_DREG), new)
    return Part()
