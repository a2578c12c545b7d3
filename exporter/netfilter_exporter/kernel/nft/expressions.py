"""The expressions of an nftables rule: what each adds to it, and what of its bytes decides that.

A decoder returns the `Part` of its expression, and notes in the registers what it loads.
"""

from __future__ import annotations

import dataclasses
import functools
import struct
from typing import Callable

from netfilter_exporter.kernel.netlink.attributes import attribute_map, be32, text
from netfilter_exporter.kernel.nft import matches, uapi
from netfilter_exporter.kernel.nft.expression import Expression
from netfilter_exporter.kernel.nft.registers import (
    Mask,
    Registers,
    Segment,
    Source,
    payload_segments,
)
from netfilter_exporter.kernel.rule_parts import (
    MATCH,
    NO_FIELDS,
    NOTHING,
    UNKNOWN,
    NatAt,
    Part,
    interface_match,
    known,
)
from netfilter_exporter.kernel.xtables.matches import xt_match
from netfilter_exporter.kernel.xtables.targets import xt_target
from netfilter_exporter.rules.detail import NatTarget, Queue
from netfilter_exporter.rules.families import BOTH, FAMILIES_OF, IPV4, IPV6, Family
from netfilter_exporter.rules.match import Field, Opaque
from netfilter_exporter.rules.model import INDEX, Action, Rule, Verdict

VERDICTS = {
    uapi.NF_DROP: Verdict.DROP,
    uapi.NF_ACCEPT: Verdict.ACCEPT,
    uapi.NF_QUEUE: Verdict.QUEUE,
    uapi.NFT_JUMP: Verdict.JUMP,
    uapi.NFT_GOTO: Verdict.GOTO,
    uapi.NFT_RETURN: Verdict.RETURN,
}

_ETHERTYPE_FAMILIES = {b"\x08\x00": IPV4, b"\x86\xdd": IPV6}
_INDEX = struct.Struct("=I")
_LOOPBACK_INDEX = 1  # LOOPBACK_IFINDEX, include/net/flow.h


@dataclasses.dataclass
class State:
    """What is known of a rule when an expression is decoded."""

    families: frozenset[Family]  #: that its packets can be of
    registers: Registers = dataclasses.field(default_factory=Registers)

    @property
    def family(self) -> Family | None:
        """The only one; None: it may be of both."""
        return next(iter(self.families)) if len(self.families) == 1 else None


def parse_verdict(data: memoryview) -> tuple[Verdict | None, str]:
    """Return the verdict in an NFTA_DATA_* nest, and the chain that it leads to."""
    verdict = attribute_map(data).get(uapi.NFTA_DATA_VERDICT)
    if verdict is None:
        return None, ""
    found = attribute_map(verdict)
    code = be32(found[uapi.NFTA_VERDICT_CODE]) if uapi.NFTA_VERDICT_CODE in found else 0
    chain = found.get(uapi.NFTA_VERDICT_CHAIN, memoryview(b""))
    return VERDICTS.get(code - (1 << 32) if code >> 31 else code), text(chain)


# -- what loads --------------------------------------------------------------------------------


def _immediate(given: Expression, state: State) -> Part:
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


def _meta(given: Expression, state: State) -> Part:
    key = given.number(uapi.NFTA_META_KEY)
    field = _META.get(key)
    if given.has(uapi.NFTA_META_SREG):
        return Part(writes=frozenset({field}) if field else NO_FIELDS)
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


_CT = {uapi.NFT_CT_STATE: Field.CT_STATE, uapi.NFT_CT_MARK: Field.CT_MARK}


def _ct(given: Expression, state: State) -> Part:
    key = given.number(uapi.NFTA_CT_KEY)
    field = _CT.get(key)
    if given.has(uapi.NFTA_CT_SREG):
        zone = key == uapi.NFT_CT_ZONE
        return Part(Rule(zone=zone), writes=frozenset({field}) if field else NO_FIELDS)
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


def _payload(given: Expression, state: State) -> Part:
    if given.has(uapi.NFTA_PAYLOAD_SREG):
        return UNKNOWN._replace(ignored=(given.all,), writes=None)
    numbers = [
        given.number(type_)
        for type_ in (uapi.NFTA_PAYLOAD_BASE, uapi.NFTA_PAYLOAD_OFFSET, uapi.NFTA_PAYLOAD_LEN)
    ]
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


def _fib(given: Expression, state: State) -> Part:
    is_type = given.number(uapi.NFTA_FIB_RESULT) == uapi.NFT_FIB_RESULT_ADDRTYPE
    field = _FIB.get(given.number(uapi.NFTA_FIB_FLAGS)) if is_type else None
    token = bytes(given.message[given.all])
    source = Source("fib", token, _whole(field), host_order=field is not None, may_fail=True)
    state.registers.load(given.number(uapi.NFTA_FIB_DREG), source)
    return Part(MATCH)


def _loads_other(name: str, given: Expression, state: State) -> Part:
    """Decode what loads something without a field here, as NFTA_*_DREG says."""
    if name not in _DREG or not given.has(_DREG[name]):
        return UNKNOWN._replace(writes=None)
    source = Source(name, bytes(given.message[given.all]), may_fail=True)
    state.registers.load(given.number(_DREG[name]), source)
    return Part(MATCH)


_DREG = {"exthdr": 1, "osf": 1, "rt": 1, "socket": 2, "tunnel": 2, "xfrm": 1}


def _computes(given: Expression, state: State, *, dreg: int) -> Part:
    """Decode what puts a number into a register that no packet has: numgen, hash."""
    if given.has(dreg):
        state.registers.load(given.number(dreg), Source("computed", stable=False))
    return Part()


def _bitwise(given: Expression, state: State) -> Part:
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


def _byteorder(given: Expression, state: State) -> Part:
    register = given.number(uapi.NFTA_BYTEORDER_SREG)
    old = state.registers.get(register)
    size = given.number(uapi.NFTA_BYTEORDER_SIZE)
    whole = size == given.number(uapi.NFTA_BYTEORDER_LEN)
    new = None
    if old and whole and not old.mask and len(old.segments) == 1 and old.segments[0].size == size:
        new = dataclasses.replace(old, host_order=not old.host_order, meta=None)
    state.registers.change(register, given.number(uapi.NFTA_BYTEORDER_DREG), new)
    return Part()


# -- what matches ------------------------------------------------------------------------------


def _cmp(given: Expression, state: State) -> Part:
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


def _range(given: Expression, state: State) -> Part:
    source = state.registers.match(given.number(uapi.NFTA_RANGE_SREG))
    first = given.inside(uapi.NFTA_RANGE_FROM_DATA, uapi.NFTA_DATA_VALUE)
    last = given.inside(uapi.NFTA_RANGE_TO_DATA, uapi.NFTA_DATA_VALUE)
    if first is None or last is None:
        return UNKNOWN
    negated = given.number(uapi.NFTA_RANGE_OP) == uapi.NFT_RANGE_NEQ
    found = matches.between(source, first, last, negated=negated)
    return Part(MATCH, ignored=(first, last), matches=(found,))


def _lookup(given: Expression, state: State) -> Part:
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


def _objref(given: Expression, state: State) -> Part:  # noqa: ARG001 - a decoder
    """Decode a named object: a counter only counts; a quota or limit may match or not."""
    counts = given.number(uapi.NFTA_OBJREF_IMM_TYPE) == uapi.NFT_OBJECT_COUNTER
    ignored = given.but(uapi.NFTA_OBJREF_IMM_TYPE)
    return Part(ignored=ignored) if counts else UNKNOWN._replace(ignored=ignored)


# -- what acts ---------------------------------------------------------------------------------


def _nat(given: Expression, state: State) -> Part:
    dnat = given.number(uapi.NFTA_NAT_TYPE) == uapi.NFT_NAT_DNAT
    action = Action.DNAT if dnat else Action.SNAT
    if given.number(uapi.NFTA_NAT_FLAGS) & uapi.NF_NAT_RANGE_NETMAP:
        action = Action.NETMAP
    families = FAMILIES_OF.get(given.number(uapi.NFTA_NAT_FAMILY), BOTH)
    registers = (
        uapi.NFTA_NAT_REG_ADDR_MIN,
        uapi.NFTA_NAT_REG_ADDR_MAX,
        uapi.NFTA_NAT_REG_PROTO_MIN,
        uapi.NFTA_NAT_REG_PROTO_MAX,
    )
    family = next(iter(families)) if len(families) == 1 else None
    nat = _nat_at(given, state, family, registers)
    return Part(Rule(action=action, families=families), nat=nat)


_NONE = -1  #: no attribute


def _masq(given: Expression, state: State) -> Part:
    ports = uapi.NFTA_MASQ_REG_PROTO_MIN, uapi.NFTA_MASQ_REG_PROTO_MAX
    return Part(
        Rule(action=Action.MASQUERADE), nat=_nat_at(given, state, None, (_NONE, _NONE, *ports))
    )


def _redir(given: Expression, state: State) -> Part:
    ports = uapi.NFTA_REDIR_REG_PROTO_MIN, uapi.NFTA_REDIR_REG_PROTO_MAX
    return Part(
        Rule(action=Action.REDIRECT), nat=_nat_at(given, state, None, (_NONE, _NONE, *ports))
    )


def _nat_at(
    given: Expression, state: State, family: Family | None, types: tuple[int, int, int, int]
) -> NatAt | None:
    """Return how the target is read whose registers the attributes `types` name."""
    given_types = [type_ for type_ in types if given.has(type_)]
    if not given_types:
        return None
    sources = {type_: state.registers.get(given.number(type_)) for type_ in given_types}
    maps = [source.map for source in sources.values() if source and source.map]
    if maps:
        return NatAt(_from_map, (family,), (maps[0],))
    places = {type_: source.constant for type_, source in sources.items() if source}
    found = [place for place in places.values() if place]
    if len(found) < len(given_types):
        return NatAt(_unknown_target, (family,))
    present = tuple(given.has(type_) for type_ in types)
    return NatAt(_target, (family, present), tuple(found))


def _from_map(family: Family | None, name: bytes) -> NatTarget:
    return NatTarget(family, map=text(name), known=False)


def _unknown_target(family: Family | None) -> NatTarget:
    return NatTarget(family, known=False)


def _target(family: Family | None, present: tuple[bool, ...], *values: bytes) -> NatTarget:
    """Read the target from the immediates: which of least and last address and port there are."""
    left = list(values)
    numbers = [int.from_bytes(left.pop(0), "big") if there else None for there in present]
    return NatTarget(family, _pair(numbers[0], numbers[1]), _pair(numbers[2], numbers[3]))


def _pair(first: int | None, last: int | None) -> tuple[int, int] | None:
    return None if first is None else (first, first if last is None else last)


def _queue(given: Expression, state: State) -> Part:  # noqa: ARG001 - a decoder
    first = int.from_bytes(given.content(uapi.NFTA_QUEUE_NUM), "big")
    total = int.from_bytes(given.content(uapi.NFTA_QUEUE_TOTAL), "big")
    flags = int.from_bytes(given.content(uapi.NFTA_QUEUE_FLAGS), "big")
    known_number = not given.has(uapi.NFTA_QUEUE_SREG_QNUM)
    bypass = bool(flags & uapi.NFT_QUEUE_FLAG_BYPASS)
    queue = Queue(first, first + max(total, 1) - 1, bypass, known_number)
    return Part(Rule(verdict=Verdict.QUEUE), queue=queue)


def _target_of_xtables(given: Expression, state: State) -> Part:
    name = bytes(given.content(uapi.NFTA_TARGET_NAME)).partition(b"\0")[0]
    info = given.places.get(uapi.NFTA_TARGET_INFO, slice(given.all.stop, given.all.stop))
    return xt_target(name, given.number(uapi.NFTA_TARGET_REV), given.message, info, state.family)


def _match_of_xtables(given: Expression, state: State) -> Part:
    name = bytes(given.content(uapi.NFTA_MATCH_NAME)).partition(b"\0")[0]
    info = given.places.get(uapi.NFTA_MATCH_INFO, slice(given.all.stop, given.all.stop))
    return xt_match(name, given.number(uapi.NFTA_MATCH_REV), given.message, info, state.family)


Decoder = Callable[[Expression, State], Part]

DECODERS: dict[bytes, Decoder] = {
    b"bitwise": _bitwise,
    b"byteorder": _byteorder,
    b"cmp": _cmp,
    b"ct": _ct,
    b"fib": _fib,
    b"hash": functools.partial(_computes, dreg=2),
    b"immediate": _immediate,
    b"lookup": _lookup,
    b"masq": _masq,
    b"match": _match_of_xtables,
    b"meta": _meta,
    b"nat": _nat,
    b"numgen": functools.partial(_computes, dreg=1),
    b"objref": _objref,
    b"payload": _payload,
    b"queue": _queue,
    b"range": _range,
    b"redir": _redir,
    b"target": _target_of_xtables,
    **{name.encode(): functools.partial(_loads_other, name) for name in _DREG},
}

#: Expressions that always do the same, whatever is in them.
_FIXED: dict[bytes, Rule] = {
    b"counter": NOTHING,
    b"last": NOTHING,
    b"log": NOTHING,
    b"notrack": Rule(notrack=True),
    b"reject": Rule(verdict=Verdict.DROP),
}
#: Those that may fail for any packet, and change nothing in it.
_MAY_FAIL = frozenset({b"connlimit", b"limit", b"quota"})


def fixed(name: bytes, whole: slice) -> Part:
    """Return the part of an expression without a decoder; one that is unknown is a match."""
    if name in _FIXED:
        return Part(_FIXED[name], ignored=(whole,))
    match = known(Opaque(name.decode("ascii", "replace")))
    writes = NO_FIELDS if name in _MAY_FAIL else None
    return Part(MATCH, ignored=(whole,), matches=(match,), writes=writes)
