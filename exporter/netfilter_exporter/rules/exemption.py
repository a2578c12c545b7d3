"""Whether a base chain exempts all packets in question from connection tracking.

Untracked packets meet no NAT rule. The exemption stays with a packet, whatever comes behind it
(nft_notrack_eval and xt_ct_target, v6.18), so one base chain before tracking is enough. It is
proven only where none of the packets can leave the chain before they meet a notrack rule.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Callable

from netfilter_exporter.rules.detail import RuleDetail
from netfilter_exporter.rules.incoming import Flows, Incoming, Meets
from netfilter_exporter.rules.model import Rule, Table, Verdict

#: Rules that are walked for one base chain; behind them packets may be tracked.
_MOST_WALKED = 20_000

#: Returns how many of the packets in question a rule matches.
Meet = Callable[[Rule, RuleDetail], Meets]


class _Way(enum.Enum):
    """What becomes of the packets that come to a chain."""

    EXEMPT = 0  #: all are exempted
    BACK = 1  #: some come back from it that may not be, and none goes elsewhere
    ELSEWHERE = 2  #: some may go on to be tracked


def exempts(table: Table, base: str, meet: Meet) -> bool:
    """Return whether a base chain exempts all packets in question."""
    return _Walk(table, base, meet).chain(base) is _Way.EXEMPT


def exempts_all(table: Table, base: str) -> bool:
    """Return whether a base chain exempts all packets of the families of its table."""

    def meet(rule: Rule, _: RuleDetail) -> Meets:
        sure = not rule.conditional and rule.families >= table.families
        return Meets.ALWAYS if sure else Meets.MAYBE

    return exempts(table, base, meet)


def exempts_arriving(tables: Iterable[Table], incoming: Incoming) -> bool:
    """Return whether all these new TCP and UDP flows are exempted."""
    return any(
        chain.is_before_all_tracking and exempts(table, name, Flows(incoming, chain).meet)
        for table in tables
        if incoming.family in table.families
        for name, chain in table.chains.items()
    )


class _Walk:
    """The ways of the packets through one base chain."""

    def __init__(self, table: Table, base: str, meet: Meet) -> None:
        self._table = table
        self._base = base
        self._meet = meet
        self._left = _MOST_WALKED

    def chain(self, name: str) -> _Way:
        """Return what becomes of those that come to a chain."""
        returned = False  # some, to the chain that jumped here
        for rule, detail in zip(self._table.rules(name), self._table.details(name)):
            self._left -= 1
            if self._left < 0:
                return _Way.ELSEWHERE
            meets = self._meet(rule, detail)
            if meets is Meets.NEVER:
                continue
            way = self._rule(rule)
            leaves = rule.verdict in {Verdict.RETURN, Verdict.GOTO}
            if way is _Way.BACK and leaves:
                returned = True
            if way is _Way.ELSEWHERE or (returned and name == self._base):
                return _Way.ELSEWHERE
            if meets is Meets.ALWAYS and (leaves or way is _Way.EXEMPT):
                return _Way.BACK if returned else way
        return _Way.BACK

    def _rule(self, rule: Rule) -> _Way:
        """Return what becomes of those that a rule matches."""
        if rule.maps or rule.zone:  # what has a zone has a template, which notrack leaves alone
            return _Way.ELSEWHERE
        if rule.notrack:
            return _Way.EXEMPT
        if rule.verdict in {Verdict.JUMP, Verdict.GOTO}:
            ways = [self.chain(target) for target in rule.targets]
            return max(ways, key=lambda way: way.value, default=_Way.ELSEWHERE)
        back = rule.verdict in {None, Verdict.DROP, Verdict.RETURN}
        return _Way.BACK if back else _Way.ELSEWHERE
