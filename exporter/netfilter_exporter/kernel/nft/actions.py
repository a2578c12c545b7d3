"""Expressions that act: translations and queues, and the extensions of xtables."""

from __future__ import annotations

from netfilter_exporter.kernel.netlink.attributes import text
from netfilter_exporter.kernel.nft import uapi
from netfilter_exporter.kernel.nft.expression import Expression
from netfilter_exporter.kernel.nft.registers import (
    State,
)
from netfilter_exporter.kernel.rule_parts import (
    NatAt,
    Part,
)
from netfilter_exporter.kernel.xtables.matches import xt_match
from netfilter_exporter.kernel.xtables.targets import xt_target
from netfilter_exporter.rules.detail import NatTarget, Queue
from netfilter_exporter.rules.families import BOTH, FAMILIES_OF, Family
from netfilter_exporter.rules.model import Action, Rule, Verdict


def nat(given: Expression, state: State) -> Part:
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


def masq(given: Expression, state: State) -> Part:
    ports = uapi.NFTA_MASQ_REG_PROTO_MIN, uapi.NFTA_MASQ_REG_PROTO_MAX
    return Part(
        Rule(action=Action.MASQUERADE), nat=_nat_at(given, state, None, (_NONE, _NONE, *ports))
    )


def redir(given: Expression, state: State) -> Part:
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


def queue(given: Expression, state: State) -> Part:  # noqa: ARG001 - a decoder
    first = int.from_bytes(given.content(uapi.NFTA_QUEUE_NUM), "big")
    total = int.from_bytes(given.content(uapi.NFTA_QUEUE_TOTAL), "big")
    flags = int.from_bytes(given.content(uapi.NFTA_QUEUE_FLAGS), "big")
    known_number = not given.has(uapi.NFTA_QUEUE_SREG_QNUM)
    bypass = bool(flags & uapi.NFT_QUEUE_FLAG_BYPASS)
    queue = Queue(first, first + max(total, 1) - 1, bypass, known_number)
    return Part(Rule(verdict=Verdict.QUEUE), queue=queue)


def target_of_xtables(given: Expression, state: State) -> Part:
    name = bytes(given.content(uapi.NFTA_TARGET_NAME)).partition(b"\0")[0]
    info = given.places.get(uapi.NFTA_TARGET_INFO, slice(given.all.stop, given.all.stop))
    return xt_target(name, given.number(uapi.NFTA_TARGET_REV), given.message, info, state.family)


def match_of_xtables(given: Expression, state: State) -> Part:
    name = bytes(given.content(uapi.NFTA_MATCH_NAME)).partition(b"\0")[0]
    info = given.places.get(uapi.NFTA_MATCH_INFO, slice(given.all.stop, given.all.stop))
    return xt_match(name, given.number(uapi.NFTA_MATCH_REV), given.message, info, state.family)
