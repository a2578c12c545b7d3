"""What there is in a chain, as far as it decides about NAT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from netfilter_exporter.rules.model import Rule


class RuleHit(NamedTuple):
    """A rule of interest: one that translates, or that keeps packets from being tracked."""

    rule: Rule
    passing: int  #: the ways that its matches let pass; without LIVE where it is hidden


Edge = tuple[str, int]  #: the chain that a jump leads to, and the ways that it lets pass


class ChainSummary(NamedTuple):
    """What there is in a chain."""

    size: int
    hits: tuple[RuleHit, ...]
    edges: Sequence[Edge]
    #: rules that need an interface: one that translates, or (with the target) a jump, and as `Edge`
    needing: Sequence[tuple[Rule, int, str | None]]
