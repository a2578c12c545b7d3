"""Whether what arrives at an interface is tracked in a separate zone.

A flow that is tracked in a zone in both directions has its replies looked up in that zone. Replies
that arrive at an interface without it belong to no flow, and their addresses are not translated
back. Only a rule before tracking can set a zone, and the first that a packet meets does
(nft_ct_set_zone_eval and xt_ct_target, v6.18: a packet that has a template keeps it).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from netfilter_exporter.rules.families import Hook
from netfilter_exporter.rules.incoming import Flows, Incoming, Meets
from netfilter_exporter.rules.model import Chain, Rule, Table, Verdict

#: Rules that are walked for one base chain; behind them it is unknown.
_MOST_WALKED = 20_000


class Zoned(enum.Enum):
    """How many of the flows of an interface are tracked in a zone, in both directions."""

    NONE = 0
    UNKNOWN = 1  #: or some of them, or in one direction
    ALL = 2


class ZoneRule(NamedTuple):
    """The rule that all flows of an interface get a zone by; its position is counted from 1."""

    table: Table
    chain: str
    position: int


def zoned(tables: Iterable[Table], incoming: Incoming) -> tuple[Zoned, ZoneRule | None]:
    """Return whether new flows from an interface get a zone by rules of `tables`, and by which."""
    bases = [
        (chain.priority, table, name)
        for table in tables
        if incoming.family in table.families
        for name, chain in table.chains.items()
        if chain.hook is Hook.PREROUTING and chain.is_before_tracking
    ]
    for _, table, name in sorted(bases, key=lambda base: base[0]):
        walk = _Walk(table, table.chains[name], incoming)
        found = walk.chain(name)
        if found is not Zoned.NONE:
            return found, walk.rule if found is Zoned.ALL else None
    return Zoned.NONE, None


class _Walk:
    """The way of those flows through one base chain."""

    def __init__(self, table: Table, base: Chain, incoming: Incoming) -> None:
        self.rule: ZoneRule | None = None
        self._table = table
        self._flows = Flows(incoming, base)
        self._left = _MOST_WALKED
        #: Some may have gone another way, or are not tracked: what comes is not met by all.
        self._fewer = False

    def chain(self, name: str) -> Zoned:
        """Return whether they get a zone in a chain."""
        rules = zip(self._table.rules(name), self._table.details(name))
        for position, (rule, detail) in enumerate(rules, 1):
            self._left -= 1
            if self._left < 0:
                return Zoned.UNKNOWN
            meets = self._flows.meet(rule, detail)
            if meets is Meets.NEVER:
                continue
            sure = meets is Meets.ALWAYS and not self._fewer
            found = self._rule(rule, sure=sure)
            if found is not Zoned.NONE:
                self.rule = self.rule or ZoneRule(self._table, name, position)
                return found
            if rule.verdict not in {None, Verdict.JUMP} or rule.notrack:
                self._fewer = True
                if meets is Meets.ALWAYS:  # none of them comes to the next rule
                    break
        return Zoned.NONE

    def _rule(self, rule: Rule, *, sure: bool) -> Zoned:
        if rule.maps:  # to where each element leads is not followed
            return Zoned.UNKNOWN
        if rule.zone:
            return Zoned.ALL if sure and rule.zone_both_ways else Zoned.UNKNOWN
        for target in rule.targets:
            found = self.chain(target)
            if found is not Zoned.NONE:
                return found if sure else Zoned.UNKNOWN
        return Zoned.NONE
