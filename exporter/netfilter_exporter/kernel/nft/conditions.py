"""Expressions that a packet may fail, by what a register holds."""

from __future__ import annotations

import struct

from netfilter_exporter.kernel.nft import matches, uapi
from netfilter_exporter.kernel.nft.expression import Expression
from netfilter_exporter.kernel.nft.registers import (
    Source,
    State,
)
from netfilter_exporter.kernel.rule_parts import (
    MATCH,
    UNKNOWN,
    Part,
    interface_match,
    known,
)
from netfilter_exporter.rules.families import BOTH, FAMILIES_OF, IPV4, IPV6
from netfilter_exporter.rules.model import INDEX, Rule

_ETHERTYPE_FAMILIES = {b"\x08\x00": IPV4, b"\x86\xdd": IPV6}
_INDEX = struct.Struct("=I")
_LOOPBACK_INDEX = 1  # LOOPBACK_IFINDEX, include/net/flow.h


def cmp(given: Expression, state: State) -> Part:
    source = state.registers.match(given.number(uapi.NFTA_CMP_SREG))
    operator = given.number(uapi.NFTA_CMP_OP)
    data = given.inside(uapi.NFTA_CMP_DATA, uapi.NFTA_DATA_VALUE)
    if data is None or operator > uapi.NFT_CMP_GTE:
        return UNKNOWN
    content = bytes(given.message[data])
    effect = MATCH
    if source and source.meta is not None:
        effect = _comparison(source.meta, content, operator)
    found = matches.comparison(source, operator, data)
    if source and source.meta in _DECIDING:  # of these the bytes are part of the form
        read = (m.read(*m.constants, *(bytes(given.message[p]) for p in m.places)) for m in found)
        return Part(effect, matches=tuple(known(match) for made in read for match in made))
    return Part(effect, ignored=(data,), matches=found)


#: Of these the bytes that they are compared with decide what the rule does.
_DECIDING = frozenset(
    {
        uapi.NFT_META_PROTOCOL,
        uapi.NFT_META_IIF,
        uapi.NFT_META_OIF,
        uapi.NFT_META_IIFNAME,
        uapi.NFT_META_OIFNAME,
        uapi.NFT_META_NFPROTO,
    }
)


def _comparison(key: int, content: bytes, operator: int) -> Rule:
    """Return what comparing a loaded value means, where it is an interface or a family."""
    if key in {uapi.NFT_META_IIFNAME, uapi.NFT_META_OIFNAME}:
        interfaces, loopback = interface_match(content, positive=operator == uapi.NFT_CMP_EQ)
        return Rule(conditional=True, interfaces=interfaces, loopback=loopback)
    if key in {uapi.NFT_META_IIF, uapi.NFT_META_OIF}:
        return _index_comparison(content, operator)
    families = None
    if key == uapi.NFT_META_NFPROTO and content:
        families = FAMILIES_OF.get(content[0])
    elif key == uapi.NFT_META_PROTOCOL:
        families = _ETHERTYPE_FAMILIES.get(content[:2])
    if families and operator == uapi.NFT_CMP_EQ:
        return Rule(conditional=True, families=families)
    if families and operator == uapi.NFT_CMP_NEQ:
        return Rule(conditional=True, families=BOTH - families)
    return MATCH


def _index_comparison(content: bytes, operator: int) -> Rule:
    """Return what comparing with the index of an interface means: it outlives the interface."""
    if len(content) < _INDEX.size or operator not in {uapi.NFT_CMP_EQ, uapi.NFT_CMP_NEQ}:
        return MATCH
    (index,) = _INDEX.unpack_from(content)
    is_loopback = index == _LOOPBACK_INDEX
    if operator == uapi.NFT_CMP_NEQ:
        return Rule(conditional=True, loopback=not is_loopback)
    return Rule(conditional=True, interfaces=(f"{INDEX}{index}",), loopback=is_loopback)


def range_(given: Expression, state: State) -> Part:
    source = state.registers.match(given.number(uapi.NFTA_RANGE_SREG))
    first = given.inside(uapi.NFTA_RANGE_FROM_DATA, uapi.NFTA_DATA_VALUE)
    last = given.inside(uapi.NFTA_RANGE_TO_DATA, uapi.NFTA_DATA_VALUE)
    if first is None or last is None:
        return UNKNOWN
    negated = given.number(uapi.NFTA_RANGE_OP) == uapi.NFT_RANGE_NEQ
    found = matches.between(source, first, last, negated=negated)
    return Part(MATCH, ignored=(first, last), matches=(found,))


def lookup(given: Expression, state: State) -> Part:
    name = given.places.get(uapi.NFTA_LOOKUP_SET)
    sources = state.registers.concatenated(given.number(uapi.NFTA_LOOKUP_SREG))
    if name is None:
        return UNKNOWN
    inverted = bool(given.number(uapi.NFTA_LOOKUP_FLAGS) & uapi.NFT_LOOKUP_F_INV)
    found = matches.lookup(sources, name, negated=inverted)
    if not given.has(uapi.NFTA_LOOKUP_DREG):
        return Part(MATCH, ignored=(name,), matches=(found,))
    register = given.number(uapi.NFTA_LOOKUP_DREG)
    if register == uapi.NFT_REG_VERDICT:
        return Part(MATCH, ignored=(name,), matches=(found,), maps=(name,))
    state.registers.load(register, Source("map", stable=False, map=name))
    return Part(MATCH, ignored=(name,), matches=(found,))


def objref(given: Expression, state: State) -> Part:  # noqa: ARG001 - a decoder
    """Decode a named object: a counter or helper lets all pass; a quota or limit may or not."""
    harmless = given.number(uapi.NFTA_OBJREF_IMM_TYPE) in _HARMLESS
    ignored = given.but(uapi.NFTA_OBJREF_IMM_TYPE)
    return Part(ignored=ignored) if harmless else UNKNOWN._replace(ignored=ignored)


#: Types of objects that stop no packet, and change nothing that is compared.
_HARMLESS = frozenset({uapi.NFT_OBJECT_COUNTER, uapi.NFT_OBJECT_CT_HELPER})
