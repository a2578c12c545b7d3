"""The expressions of an nftables rule, reduced to what a `Rule` keeps.

Source: include/uapi/linux/netfilter/nf_tables.h and nf_tables_compat.h (v6.18).
"""

from __future__ import annotations

import functools
import struct
from typing import Callable, NamedTuple

from netfilter_exporter.kernel import names
from netfilter_exporter.kernel.netlink.attributes import attribute_map, be32, text
from netfilter_exporter.rules.families import BOTH, FAMILIES_OF, IPV4, IPV6, Family
from netfilter_exporter.rules.model import INDEX, Action, Rule, Verdict

NFTA_EXPR_NAME = 1
NFTA_EXPR_DATA = 2

NFTA_IMMEDIATE_DREG = 1
NFTA_IMMEDIATE_DATA = 2
NFTA_DATA_VALUE = 1
NFTA_DATA_VERDICT = 2
NFTA_VERDICT_CODE = 1
NFTA_VERDICT_CHAIN = 2
NFT_REG_VERDICT = 0

NFTA_META_DREG = 1
NFTA_META_KEY = 2
NFTA_META_SREG = 3
NFT_META_PROTOCOL = 1
NFT_META_IIF = 4
NFT_META_OIF = 5
NFT_META_IIFNAME = 6
NFT_META_OIFNAME = 7
NFT_META_NFPROTO = 15

NFTA_CMP_SREG = 1
NFTA_CMP_OP = 2
NFTA_CMP_DATA = 3
NFT_CMP_EQ = 0
NFT_CMP_NEQ = 1

NFTA_LOOKUP_SET = 1
NFTA_LOOKUP_DREG = 3

NFTA_NAT_TYPE = 1
NFTA_NAT_FAMILY = 2
NFTA_NAT_FLAGS = 7
NFT_NAT_DNAT = 1
NF_NAT_RANGE_NETMAP = 1 << 6

NFTA_OBJREF_IMM_TYPE = 1
NFT_OBJECT_COUNTER = 1

NFTA_CT_KEY = 2
NFTA_CT_SREG = 4
NFT_CT_ZONE = 17

NFTA_TARGET_NAME = 1
NFTA_TARGET_INFO = 3
NFTA_MATCH_NAME = 1
NFTA_MATCH_INFO = 3

XT_CT_NOTRACK = 1 << 0
XT_CT_ZONE_MARK = 1 << 4

VERDICTS = {
    0: Verdict.DROP,  # NF_DROP
    1: Verdict.ACCEPT,  # NF_ACCEPT
    3: Verdict.QUEUE,  # NF_QUEUE
    -3: Verdict.JUMP,  # NFT_JUMP
    -4: Verdict.GOTO,  # NFT_GOTO
    -5: Verdict.RETURN,  # NFT_RETURN
}

#: The xt targets that translate, in both backends.
XT_ACTIONS = {
    b"MASQUERADE": Action.MASQUERADE,
    b"SNAT": Action.SNAT,
    b"DNAT": Action.DNAT,
    b"REDIRECT": Action.REDIRECT,
    b"NETMAP": Action.NETMAP,
}

_ETHERTYPE_FAMILIES = {b"\x08\x00": IPV4, b"\x86\xdd": IPV6}
_COMPARED = {
    NFT_META_IIF,
    NFT_META_OIF,
    NFT_META_IIFNAME,
    NFT_META_OIFNAME,
    NFT_META_NFPROTO,
    NFT_META_PROTOCOL,
}
_INDEX = struct.Struct("=I")
_LOOPBACK_INDEX = 1  # LOOPBACK_IFINDEX, include/net/flow.h
_XT_CT = struct.Struct("=HH")  # struct xt_ct_target_info begins with flags and zone


class Effect(NamedTuple):
    """What one expression adds to its rule; the fields are those of `Rule`."""

    conditional: bool = False
    verdict: Verdict | None = None
    targets: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    action: Action | None = None
    families: frozenset[Family] = BOTH
    interfaces: tuple[str, ...] = ()
    loopback: bool = True
    notrack: bool = False
    zone: bool = False
    extension: bool = False
    loads: tuple[int, int] | None = None  #: (register, NFT_META_*) that a comparison may use


NOTHING = Effect()
MATCH = Effect(conditional=True)
_DROP = Effect(verdict=Verdict.DROP)
_NOTRACK = Effect(notrack=True)
_ZONE = Effect(zone=True)
_NOTRACK_ZONE = Effect(notrack=True, zone=True)
_XT_EFFECTS = {name: Effect(action=action, extension=True) for name, action in XT_ACTIONS.items()}
_XT_EFFECTS[b"NOTRACK"] = _NOTRACK
for _final in (b"REJECT", b"TPROXY", b"NFQUEUE", b"SYNPROXY"):
    _XT_EFFECTS[_final] = _DROP


def xt_target(name: bytes, info: memoryview) -> Effect:
    """Return what an xt target does to its rule; `info` is its private data."""
    if name == b"CT" and len(info) >= _XT_CT.size:
        flags, zone = _XT_CT.unpack_from(info)
        if zone or flags & XT_CT_ZONE_MARK:
            return _NOTRACK_ZONE if flags & XT_CT_NOTRACK else _ZONE
        return _NOTRACK if flags & XT_CT_NOTRACK else NOTHING
    return _XT_EFFECTS.get(name, NOTHING)


def parse_verdict(data: memoryview) -> tuple[Verdict | None, str]:
    """Return the verdict in an NFTA_DATA_* nest, and the chain that it leads to."""
    verdict = attribute_map(data).get(NFTA_DATA_VERDICT)
    if verdict is None:
        return None, ""
    found = attribute_map(verdict)
    code = _number(found, NFTA_VERDICT_CODE)
    chain = text(found[NFTA_VERDICT_CHAIN]) if NFTA_VERDICT_CHAIN in found else ""
    return VERDICTS.get(code - (1 << 32) if code >> 31 else code), chain


def _immediate(data: memoryview) -> Effect:
    found = attribute_map(data)
    if _number(found, NFTA_IMMEDIATE_DREG) != NFT_REG_VERDICT or NFTA_IMMEDIATE_DATA not in found:
        return NOTHING
    verdict, chain = parse_verdict(found[NFTA_IMMEDIATE_DATA])
    return Effect(verdict=verdict, targets=(chain,) if chain else ())


def _meta(data: memoryview) -> Effect:
    found = attribute_map(data)
    key = _number(found, NFTA_META_KEY)
    if NFTA_META_SREG in found or key not in _COMPARED:
        return NOTHING  # it sets a mark or the like, or is compared with what tells us nothing
    return Effect(loads=(_number(found, NFTA_META_DREG), key))


def _lookup(data: memoryview) -> Effect:
    found = attribute_map(data)
    if _number(found, NFTA_LOOKUP_DREG, -1) != NFT_REG_VERDICT or NFTA_LOOKUP_SET not in found:
        return MATCH
    return Effect(conditional=True, maps=(text(found[NFTA_LOOKUP_SET]),))


def _nat(data: memoryview) -> Effect:
    found = attribute_map(data)
    action = Action.DNAT if _number(found, NFTA_NAT_TYPE) == NFT_NAT_DNAT else Action.SNAT
    if _number(found, NFTA_NAT_FLAGS) & NF_NAT_RANGE_NETMAP:
        action = Action.NETMAP
    families = FAMILIES_OF.get(_number(found, NFTA_NAT_FAMILY), BOTH)
    return Effect(action=action, families=families)


def _ct(data: memoryview) -> Effect:
    found = attribute_map(data)
    if NFTA_CT_SREG not in found:
        return MATCH
    return _ZONE if _number(found, NFTA_CT_KEY) == NFT_CT_ZONE else NOTHING


def _target(data: memoryview) -> Effect:
    found = attribute_map(data)
    name = bytes(found.get(NFTA_TARGET_NAME, b"")).partition(b"\0")[0]
    return xt_target(name, found.get(NFTA_TARGET_INFO, memoryview(b"")))


def _objref(data: memoryview) -> Effect:
    """Decode a named object: a counter only counts; a quota or limit may match or not."""
    found = attribute_map(data)
    counts = _number(found, NFTA_OBJREF_IMM_TYPE) == NFT_OBJECT_COUNTER
    return NOTHING if counts else MATCH


def _match(data: memoryview) -> Effect:
    name = bytes(attribute_map(data).get(NFTA_MATCH_NAME, b"")).partition(b"\0")[0]
    return NOTHING if name == b"comment" else MATCH  # a comment matches everything


def _number(found: dict[int, memoryview], type_: int, default: int = 0) -> int:
    return be32(found[type_]) if type_ in found else default


#: Expressions that do something of interest.
DECODE: dict[bytes, Callable[[memoryview], Effect]] = {
    b"ct": _ct,
    b"immediate": _immediate,
    b"lookup": _lookup,
    b"match": _match,
    b"meta": _meta,
    b"nat": _nat,
    b"objref": _objref,
    b"target": _target,
}

#: Expressions that always do the same. One that is in neither table is a match, or loads what
#: a match compares: that may fail, where the packet does not have it.
FIXED: dict[bytes, Effect] = {
    b"bitwise": NOTHING,
    b"byteorder": NOTHING,
    b"counter": NOTHING,
    b"hash": NOTHING,
    b"last": NOTHING,
    b"log": NOTHING,
    b"masq": Effect(action=Action.MASQUERADE),
    b"notrack": _NOTRACK,
    b"numgen": NOTHING,
    b"queue": Effect(verdict=Verdict.QUEUE),
    b"redir": Effect(action=Action.REDIRECT),
    b"reject": _DROP,
}


def comparison(data: memoryview, loaded: tuple[int, int]) -> Effect:
    """Return what comparing a loaded value means, where it is an interface or a family."""
    found = attribute_map(data)
    register, key = loaded
    if _number(found, NFTA_CMP_SREG) != register or NFTA_CMP_DATA not in found:
        return MATCH
    operator = _number(found, NFTA_CMP_OP)
    content = bytes(attribute_map(found[NFTA_CMP_DATA]).get(NFTA_DATA_VALUE, b""))
    if key in {NFT_META_IIFNAME, NFT_META_OIFNAME}:
        interfaces, loopback = interface_match(content, positive=operator == NFT_CMP_EQ)
        return Effect(conditional=True, interfaces=interfaces, loopback=loopback)
    if key in {NFT_META_IIF, NFT_META_OIF}:
        return _index_comparison(content, operator)
    families = None
    if key == NFT_META_NFPROTO and content:
        families = FAMILIES_OF.get(content[0])
    elif key == NFT_META_PROTOCOL:
        families = _ETHERTYPE_FAMILIES.get(content[:2])
    if families and operator == NFT_CMP_EQ:
        return Effect(conditional=True, families=families)
    if families and operator == NFT_CMP_NEQ:
        return Effect(conditional=True, families=BOTH - families)
    return MATCH


def _index_comparison(content: bytes, operator: int) -> Effect:
    """Return what comparing with the index of an interface means: it outlives the interface."""
    if len(content) < _INDEX.size or operator not in {NFT_CMP_EQ, NFT_CMP_NEQ}:
        return MATCH
    (index,) = _INDEX.unpack_from(content)
    is_loopback = index == _LOOPBACK_INDEX
    if operator == NFT_CMP_NEQ:
        return Effect(conditional=True, loopback=not is_loopback)
    return Effect(conditional=True, interfaces=(f"{INDEX}{index}",), loopback=is_loopback)


@functools.lru_cache(maxsize=1024)
def interface_match(content: bytes, *, positive: bool) -> tuple[tuple[str, ...], bool]:
    """Return the name that a match on `content` needs, and whether loopback can pass it.

    Content without a NUL is a prefix (``eth*``). A negated name may be missing without harm.
    """
    name, nul, _ = content.partition(b"\0")
    names_loopback = name == b"lo" if nul else b"lo".startswith(name)
    if not positive:
        return (), not names_loopback
    exact = (names.decode(name),) if nul and name else ()
    return exact, names_loopback


def combine(effects: list[Effect]) -> Rule:
    """Return the rule that `effects` make together."""
    families = BOTH
    for effect in effects:
        families &= effect.families
    return Rule(
        conditional=any(effect.conditional for effect in effects),
        verdict=next((effect.verdict for effect in effects if effect.verdict), None),
        targets=tuple(target for effect in effects for target in effect.targets),
        maps=tuple(name for effect in effects for name in effect.maps),
        action=next((effect.action for effect in effects if effect.action), None),
        families=families,
        interfaces=tuple(name for effect in effects for name in effect.interfaces),
        loopback=all(effect.loopback for effect in effects),
        notrack=any(effect.notrack for effect in effects),
        zone=any(effect.zone for effect in effects),
        extension=any(effect.extension for effect in effects),
    )
