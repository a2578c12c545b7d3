"""Packets that arrive at an interface, and whether all, none or some of them match a rule.

They are the first ones of new flows, or belong to established flows: later ones, or the replies to
flows that left by the interface.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from typing import Callable, NamedTuple

from netfilter_exporter.rules.detail import RuleDetail
from netfilter_exporter.rules.families import ETHERTYPES, TCP, UDP, Family, Hook
from netfilter_exporter.rules.match import (
    SOURCES,
    Bits,
    Field,
    InSet,
    Intervals,
    Match,
    Range,
    contains,
    interface_number,
    intersection,
)
from netfilter_exporter.rules.model import NF_IP_PRI_CONNTRACK, Chain, Rule

ESTABLISHED, NEW = 2, 8  #: bits of NF_CT_STATE
_IPS_DST_NAT = 1 << 5  # include/uapi/linux/netfilter/nf_conntrack_common.h (v6.18)
_RTN_UNICAST = 1


class Incoming(NamedTuple):
    """Where new flows come from, or packets of established ones."""

    family: Family
    interface: str = ""  #: empty: any
    number: int = 0  #: of the interface
    sources: Intervals | None = None  #: their addresses; None: any
    established: bool = False  #: of flows in either direction, not new ones
    protocols: tuple[int, ...] = (TCP, UDP)
    leaving: tuple[str, int] | None = None  #: by this interface, its name and number; None: any
    translated: bool = False  #: a rule has translated their destination
    known: tuple[tuple[Field, Intervals], ...] = ()  #: what else all of them have


class Meets(enum.Enum):
    """How many of the flows match a rule; MAYBE: what it compares is not known of all of them."""

    NEVER = 0
    MAYBE = 1
    ALWAYS = 2


#: Returns a match on what a set holds, where that is known, in place of the match on the set.
Contents = Callable[[InSet], Match]


class Flows:
    """Packets of all new or established flows from an interface, in a base chain.

    They are for other hosts. `published`: rules may translate the destinations of some of them.
    `arriving`: they have not met those rules, and some are for this host until then.
    """

    def __init__(
        self,
        incoming: Incoming,
        base: Chain,
        *,
        published: bool = True,
        arriving: bool = False,
        contents: Contents | None = None,
    ) -> None:
        self._family = incoming.family
        self._contents = contents
        self._known = _known(incoming, base)
        self._translated = incoming.translated
        self._original = not published and self._known.get(Field.CT_STATE) == ((NEW, NEW),)
        if arriving or (incoming.established and base.hook is Hook.PREROUTING):
            del self._known[Field.DESTINATION_TYPE]

    def meet(self, rule: Rule, detail: RuleDetail) -> Meets:
        """Return how many of them a rule matches."""
        if self._family not in rule.families:
            return Meets.NEVER
        if not rule.conditional:
            return Meets.ALWAYS
        found = [self._accepted(match) for match in detail.matches]
        if Meets.NEVER in found:
            return Meets.NEVER
        return Meets.MAYBE if not found or Meets.MAYBE in found else Meets.ALWAYS

    def _accepted(self, match: Match) -> Meets:
        """Return how many of them a match accepts."""
        if isinstance(match, InSet) and self._contents is not None:
            match = self._contents(match)
        if isinstance(match, Bits):
            return self._with_bits(match)
        known = self._known.get(match.field) if isinstance(match, Range) else None
        if not isinstance(match, Range) or known is None:
            return Meets.MAYBE
        if not intersection(match.intervals, known):
            return Meets.NEVER
        return Meets.ALWAYS if contains(match.intervals, known) else Meets.MAYBE

    def _with_bits(self, match: Bits) -> Meets:
        if match.field is not Field.CT_STATUS or match.mask != _IPS_DST_NAT:
            return Meets.MAYBE
        if not (self._original or self._translated):
            return Meets.MAYBE
        wants = (match.value != 0) is not match.negated
        return Meets.ALWAYS if wants is self._translated else Meets.NEVER


def _known(incoming: Incoming, base: Chain) -> dict[Field, Intervals]:
    """Return what is known of them at a base chain."""
    numbers: dict[Field, Collection[int]] = {
        Field.FAMILY: (incoming.family.nfproto,),
        Field.ETHERTYPE: (ETHERTYPES[incoming.family],),
        Field.PROTOCOL: incoming.protocols,
        Field.SOURCE_TYPE: (_RTN_UNICAST,),
        Field.DESTINATION_TYPE: (_RTN_UNICAST,),
    }
    if base.hook is not Hook.PREROUTING or base.priority > NF_IP_PRI_CONNTRACK:
        numbers[Field.CT_STATE] = (ESTABLISHED if incoming.established else NEW,)
    if incoming.interface:
        numbers[Field.INPUT_INTERFACE] = (_number(incoming.interface),)
        numbers[Field.INPUT_INDEX] = (incoming.number,)
    if incoming.leaving and base.hook is not Hook.PREROUTING:
        name, index = incoming.leaving
        numbers |= {Field.OUTPUT_INTERFACE: (_number(name),), Field.OUTPUT_INDEX: (index,)}
    known = {field: tuple((n, n) for n in found) for field, found in numbers.items()}
    if incoming.sources is not None:
        known[SOURCES[incoming.family]] = incoming.sources
    return {**known, **dict(incoming.known)}


def _number(name: str) -> int:
    """Return the number of an interface's name, as matches have it."""
    return interface_number(name.encode("utf-8", "surrogateescape"))
