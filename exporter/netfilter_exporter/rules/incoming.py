"""New flows that arrive at an interface, and whether all, none or some of them match a rule."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import NamedTuple

from netfilter_exporter.rules.detail import RuleDetail
from netfilter_exporter.rules.families import Family, Hook
from netfilter_exporter.rules.match import (
    INTERFACE_BYTES,
    Field,
    Intervals,
    Range,
    contains,
    intersection,
)
from netfilter_exporter.rules.model import NF_IP_PRI_CONNTRACK, Chain, Rule

NEW = 8  #: a bit of NF_CT_STATE
_TCP, _UDP = 6, 17
_RTN_UNICAST = 1
_ETHERTYPES = {Family.IPV4: 0x0800, Family.IPV6: 0x86DD}


class Incoming(NamedTuple):
    """Where new flows come from."""

    family: Family
    interface: str
    number: int  #: of the interface


class Meets(enum.Enum):
    """How many of the flows match a rule; MAYBE: what it compares is not known of all of them."""

    NEVER = 0
    MAYBE = 1
    ALWAYS = 2


class Flows:
    """All new TCP and UDP flows from an interface, as a base chain sees them."""

    def __init__(self, incoming: Incoming, base: Chain) -> None:
        self._family = incoming.family
        self._known = _known(incoming, base)

    def meet(self, rule: Rule, detail: RuleDetail) -> Meets:
        """Return how many of them a rule matches."""
        if self._family not in rule.families:
            return Meets.NEVER
        if not rule.conditional:
            return Meets.ALWAYS
        matches = detail.matches
        sure = bool(matches)
        for match in matches:
            known = self._known.get(match.field) if isinstance(match, Range) else None
            if not isinstance(match, Range) or known is None:
                sure = False
            elif not intersection(match.intervals, known):
                return Meets.NEVER
            elif not contains(match.intervals, known):
                sure = False
        return Meets.ALWAYS if sure else Meets.MAYBE


def _known(incoming: Incoming, base: Chain) -> Mapping[Field, Intervals]:
    """Return what is known of them at a base chain."""
    name = int.from_bytes(
        incoming.interface.encode("utf-8", "surrogateescape").ljust(INTERFACE_BYTES, b"\0"), "big"
    )
    numbers: dict[Field, Collection[int]] = {
        Field.INPUT_INTERFACE: (name,),
        Field.INPUT_INDEX: (incoming.number,),
        Field.FAMILY: (incoming.family.nfproto,),
        Field.ETHERTYPE: (_ETHERTYPES[incoming.family],),
        Field.PROTOCOL: (_TCP, _UDP),
        Field.SOURCE_TYPE: (_RTN_UNICAST,),
        Field.DESTINATION_TYPE: (_RTN_UNICAST,),
    }
    if base.hook is not Hook.PREROUTING or base.priority > NF_IP_PRI_CONNTRACK:
        numbers[Field.CT_STATE] = (NEW,)
    return {field: tuple((n, n) for n in found) for field, found in numbers.items()}
