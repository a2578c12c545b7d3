"""Which translating rules are for forwarded traffic: it follows from what they can match.

A rule that only packets of this host's sockets can match, or that sends packets to the host itself,
translates no forwarded packet, and does not make the host a router. Whatever cannot be decided,
such as a mark, is for forwarded traffic.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Union

from netfilter_exporter.rules.detail import NatTarget, RuleDetail
from netfilter_exporter.rules.families import Family, Hook
from netfilter_exporter.rules.match import (
    FAMILY_OF_DESTINATION,
    FAMILY_OF_SOURCE,
    LOOPBACK,
    Field,
    InSet,
    Intervals,
    Range,
    contains,
    interface_number,
    narrowed,
)
from netfilter_exporter.rules.model import Action

#: What translates forwarded traffic, by hook: redirect is for this host, input and output too.
FORWARDED = {
    Hook.POSTROUTING: frozenset({Action.SNAT, Action.MASQUERADE, Action.NETMAP}),
    Hook.PREROUTING: frozenset({Action.DNAT, Action.NETMAP}),
}

RTN_LOCAL = 2  # include/uapi/linux/rtnetlink.h
_LOCAL: Intervals = ((RTN_LOCAL, RTN_LOCAL),)
_OWNER = frozenset({Field.USER, Field.GROUP})
_LO = interface_number(b"lo")
_MOST = 8  #: addresses of one rule that are compared with the host's


class Addresses(NamedTuple):
    """A rule is not for forwarded traffic if all of these are addresses of the host."""

    family: Family
    numbers: tuple[int, ...]


#: Whether a rule is for forwarded traffic, or what decides it.
Role = Union[bool, Addresses]


def role(hook: Hook, action: Action, detail: RuleDetail) -> Role:
    """Return whether a rule at `hook` can translate forwarded packets."""
    if action not in FORWARDED.get(hook, ()):
        return False
    ranges = [match for match in narrowed(detail.matches) if isinstance(match, Range)]
    if hook is Hook.POSTROUTING:
        if any(isinstance(match, InSet) and _OWNER & {*match.fields} for match in detail.matches):
            return False
        return _of_source(ranges)
    target = detail.nat
    if target is None or not target.known or target.map:
        return True
    return _of_target(target) if target.addresses else _of_destination(ranges)


def _of_source(ranges: Iterable[Range]) -> Role:
    """Decide by what is known of the packet's sender."""
    found: Role = True
    for match in ranges:
        if _is_of_socket(match) or _is_local(match, Field.SOURCE_TYPE):
            return False
        if match.field is Field.OUTPUT_INTERFACE and match.intervals == ((_LO, _LO),):
            return False
        if match.field in FAMILY_OF_SOURCE:
            found = _of_addresses(FAMILY_OF_SOURCE[match.field], match.intervals)
            if found is False:
                return False
    return found


def _is_of_socket(match: Range) -> bool:
    """Return whether only packets with a socket match: forwarded ones have no owner.

    nft_meta_get_eval_skugid() and owner_mt() (net/netfilter/nft_meta.c, xt_owner.c, v6.18); the
    latter matches packets without a socket where it is negated.
    """
    return match.field in _OWNER and not match.negated


def _is_local(match: Range, field: Field) -> bool:
    return match.field is field and contains(_LOCAL, match.intervals)


def _of_destination(ranges: Iterable[Range]) -> Role:
    """Decide where a rule changes the port alone: the packet goes where it went."""
    for match in ranges:
        if _is_local(match, Field.DESTINATION_TYPE):
            return False
        if match.field in FAMILY_OF_DESTINATION:
            return _of_addresses(FAMILY_OF_DESTINATION[match.field], match.intervals)
    return True


def _of_target(target: NatTarget) -> Role:
    if target.family is None or target.addresses is None:
        return True
    return _of_addresses(target.family, (target.addresses,))


def _of_addresses(family: Family, intervals: Intervals) -> Role:
    if contains(LOOPBACK[family], intervals):
        return False
    single = all(first == last for first, last in intervals)
    if single and len(intervals) <= _MOST:
        return Addresses(family, tuple(first for first, _ in intervals))
    return True
