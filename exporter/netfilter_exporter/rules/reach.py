"""In which ways packets come to a chain, as bits, and what of them a rule lets pass.

A way says of which family packets are, whether loopback traffic is among them, and whether they
come at all (LIVE) or would if nothing were hidden.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from netfilter_exporter.rules.families import BOTH, IPV4, IPV6, Family
from netfilter_exporter.rules.model import Rule

# The ways in which packets may come to a chain: a set of them is handed on at each jump, and what
# the jump does not let pass is taken out.
_IPV4, _IPV6, LOOPBACK, LIVE = 1, 2, 4, 8
FAMILY_BITS = {IPV4: _IPV4, IPV6: _IPV6, BOTH: _IPV4 | _IPV6, frozenset(): 0}
FAMILIES = {bits: families for families, bits in FAMILY_BITS.items()}
BOTH_BITS = _IPV4 | _IPV6
EVERYTHING = BOTH_BITS | LOOPBACK | LIVE
WIDTH = 16  #: ways there can be
ALL = (1 << WIDTH) - 1


class Reach(NamedTuple):
    """Which packets that come to a chain reach a rule of it."""

    families: frozenset[Family]  #: that would meet it if nothing were hidden
    live: frozenset[Family]  #: that do
    loopback: frozenset[Family]  #: of those, whose loopback traffic may meet it
    hidden: frozenset[Family]  #: that would meet it, but do not


def ways_of(rule: Rule, *, live: bool) -> int:
    """Return the ways that the matches of a rule let pass."""
    return FAMILY_BITS[rule.families] | (LOOPBACK if rule.loopback else 0) | (LIVE if live else 0)


@functools.lru_cache(maxsize=1024)
def passed(arriving: int, passing: int) -> int:
    """Return the ways behind a jump, of those that arrive at it."""
    passed = 0
    for bit in range(arriving.bit_length()):
        ways = bit & passing & (WIDTH - 1)
        if arriving >> bit & 1 and ways & (_IPV4 | _IPV6):
            passed |= 1 << (bit - bit % WIDTH + ways)
    return passed


@functools.lru_cache(maxsize=1024)
def merged(ways: int) -> int:
    """Return the ways from any base chain, as if there were one."""
    merged = 0
    while ways:
        merged |= ways & ALL
        ways >>= WIDTH
    return merged


@functools.lru_cache(maxsize=1024)
def reach(arriving: int, passing: int) -> Reach:
    """Return who reaches a rule, of the ways that arrive from one base chain."""
    met = live = loopback = 0
    for ways in range(WIDTH):
        if arriving >> ways & 1:
            families = ways & passing & (_IPV4 | _IPV6)
            met |= families
            if ways & passing & LIVE:
                live |= families
                loopback |= families if ways & passing & LOOPBACK else 0
    return Reach(FAMILIES[met], FAMILIES[live], FAMILIES[loopback], FAMILIES[met & ~live])
