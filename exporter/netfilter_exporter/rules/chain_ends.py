"""Which packets never come back from a chain that they are sent to by a jump, and what it changes.

`termination` knows the chains from which none does. Here it is asked of those packets that fulfil a
condition: a jump to a chain with ``-o wan -j ACCEPT`` hides what follows the jump for them.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator

from netfilter_exporter.rules import duplicates
from netfilter_exporter.rules.conditions import ANY, Condition, are_apart, both, condition
from netfilter_exporter.rules.cover_index import Hider, Translated
from netfilter_exporter.rules.detail import RuleDetail
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.match import Field
from netfilter_exporter.rules.model import Rule, Table, Verdict
from netfilter_exporter.rules.shadows import ShadowingRule
from netfilter_exporter.rules.termination import Termination

#: Rules of a chain that are asked whether they end the way of what is sent there, and jumps of a
#: table that are followed so: those beyond hide nothing.
MOST_RULES = 64
_MOST_JUMPS = 128

_NOTHING: frozenset[Field] = frozenset()
_GOING_ON = frozenset({Verdict.ACCEPT, Verdict.QUEUE})
#: Of a rule of which it is unknown to what it translates; like that of no other rule.
UNKNOWN: Translated = (None, None)


class ChainEnds:
    """What of one table ends the way of packets, and changes them.

    With `whole_hook` it is the way through a NAT hook: a packet that a base chain accepts goes on
    to the base chains of other tables, unless it was translated (nf_nat_inet_fn, v6.18).
    """

    def __init__(self, table: Table, termination: Termination, *, whole_hook: bool = False) -> None:
        self._whole_hook = whole_hook
        self._table = table
        self._termination = termination
        self.finals: dict[str, tuple[Hider, ...]] = {}  #: by chain, in the order of their finding
        self._written: dict[str, frozenset[Field] | None] = {}
        self._known_ends: dict[str, bool] = {}
        self.jumps_left = _MOST_JUMPS
        self._going_on: dict[str, bool] = {}

    def go_on(self, before: ChainEnds, unchanged: Collection[str]) -> None:
        """Take over what is known of chains that are unchanged, with all that they lead to.

        But for `finals`, which depend on how many jumps were left.
        """
        written, ends, on = before._written, before._known_ends, before._going_on
        self._written.update((name, written[name]) for name in unchanged if name in written)
        self._known_ends.update((name, ends[name]) for name in unchanged if name in ends)
        self._going_on.update((name, on[name]) for name in unchanged if name in on)

    def may_hide(self, rule: Rule) -> bool:
        """Return whether some packet may end its way at a rule."""
        if rule.verdict is Verdict.JUMP:
            return any(map(self._may_end, rule.targets))
        return rule.action is not None or rule.verdict is not None

    def _may_end(self, chain: str) -> bool:
        known = self._known_ends.get(chain)
        if known is None:
            known = self._known_ends[chain] = False  # while it is asked
            # Most chains end with what ends the way, and only jump before it.
            for rule in reversed(self._table.rules(chain)):
                if rule.verdict is not Verdict.RETURN and self.may_hide(rule):
                    known = self._known_ends[chain] = True
                    break
        return known

    def hiders(
        self, chain: str, number: int, rule: Rule, detail: RuleDetail, demands: Condition
    ) -> Iterator[Hider]:
        """Yield what a rule, or the chain that it jumps to, hides from what follows it."""
        place = ShadowingRule(chain, number + 1, rule)
        if rule.verdict is not Verdict.JUMP:
            if rule.verdict is not None or rule.action is not None:
                yield Hider(place, demands, rule.families, translated(rule, detail))
            return
        for target in rule.targets:
            if not self._may_end(target):
                continue
            if self._termination.ends(target) and not self._whole_hook:
                yield Hider(place, demands, rule.families)
            elif self.jumps_left > 0:
                self.jumps_left -= 1
                yield from _behind(rule, demands, self._ends_of(target))

    def _ends_of(self, chain: str) -> tuple[Hider, ...]:
        """Return the rules of a user chain, and behind it, at which a packet ends its whole way."""
        known = self.finals.get(chain)
        if known is None:
            self.finals[chain] = ()  # while it is asked
            known = self.finals[chain] = tuple(self._find_ends(chain))
        return known

    def _find_ends(self, chain: str) -> Iterator[Hider]:
        escapes: list[Condition] = []  # of packets that may come back, or go elsewhere
        written: frozenset[Field] | None = _NOTHING
        families = self._table.families
        followed = zip(range(MOST_RULES), self._table.rules(chain), self._table.details(chain))
        for number, rule, detail in followed:
            written = _union(written, self.writes(rule))
            demands = demands_of(rule, detail, families)
            sends = rule.verdict is Verdict.GOTO
            if self._whole_hook and self._goes_on(rule):
                escapes.append(demands or ANY)
            if rule.verdict is Verdict.RETURN or rule.maps or sends:
                if sends and demands is not None:
                    yield from _kept(
                        _behind(rule, demands, self._ends_of(rule.targets[0])), written, escapes
                    )
                escapes.append(demands or ANY)
            elif demands is not None:
                hiders = self.hiders(chain, number, rule, detail, demands)
                yield from _kept(hiders, written, escapes)

    def translating(self, base: str) -> Iterator[Hider]:
        """Yield the translations of a base chain, and behind it, that packets surely come to."""
        return (end for end in self._ends_of(base) if end.translated is not None)

    def _goes_on(self, rule: Rule) -> bool:
        """Return whether a rule, or one that it leads to, lets packets go on to other tables."""
        if rule.verdict in _GOING_ON:
            return True
        return any(self._leads_on(target) for target in rule.targets)

    def _leads_on(self, chain: str) -> bool:
        if chain not in self._going_on:
            self._going_on[chain] = True  # while it is asked
            self._going_on[chain] = any(map(self._goes_on, self._table.rules(chain))) or any(
                rule.maps for rule in self._table.rules(chain)
            )
        return self._going_on[chain]

    def changes(self, rule: Rule, demands: Condition) -> bool:
        """Return whether a rule, or what it leads to, may change what is demanded of a packet.

        Jumps are followed only where some rule of the table changes such a field.
        """
        if not rule.targets and not rule.maps:
            return demands.depends_on(rule.form.writes)
        return demands.depends_on(self.written_anywhere) and demands.depends_on(self.writes(rule))

    @functools.cached_property
    def written_anywhere(self) -> frozenset[Field] | None:
        """The fields that any rule of the table may change; None: any."""
        forms = {id(rule.form): rule.form for rules in self._table.lists() for rule in rules}
        written: frozenset[Field] | None = _NOTHING
        for form in forms.values():
            written = _union(written, form.writes)
        return written

    def writes(self, rule: Rule) -> frozenset[Field] | None:
        """Return the fields that a rule, and what it leads to, may change; None: any."""
        written = rule.form.writes
        for target in self._table.leads(rule):
            written = _union(written, self._written_in(target))
        return written

    def _written_in(self, chain: str) -> frozenset[Field] | None:
        if chain in self._written:
            return self._written[chain]
        self._written[chain] = _NOTHING  # while it is asked
        written: frozenset[Field] | None = _NOTHING
        for rule in self._table.rules(chain):
            leads = rule.targets or rule.maps
            written = _union(written, self.writes(rule) if leads else rule.form.writes)
        self._written[chain] = written
        return written


def demands_of(rule: Rule, detail: RuleDetail, families: frozenset[Family]) -> Condition | None:
    """Return what a rule demands; None where that also depends on chance, or is unknown at all."""
    if not rule.conditional:
        return ANY
    matches = detail.matches
    return condition(matches, families & rule.families) if matches else None


def translated(rule: Rule, detail: RuleDetail) -> Translated:
    """Return what a rule translates to; None where it does not translate."""
    return (duplicates.translation(rule, detail) or UNKNOWN) if rule.action else None


def _behind(rule: Rule, demands: Condition, ends: Iterable[Hider]) -> Iterator[Hider]:
    """Yield the ends behind a jump, with what the jump demands too."""
    for end in ends:
        together = both(demands, end.demands)
        families = end.families & rule.families
        if families and together.possible and not end.demands.depends_on(rule.form.writes):
            yield end._replace(demands=together, families=families)


def _kept(
    ends: Iterable[Hider], written: frozenset[Field] | None, escapes: Iterable[Condition]
) -> Iterator[Hider]:
    """Yield those ends at which what is said of packets that come to the chain still holds."""
    for end in ends:
        if not end.demands.depends_on(written) and all(
            are_apart(escape, end.demands) for escape in escapes
        ):
            yield end


def _union(one: frozenset[Field] | None, other: frozenset[Field] | None) -> frozenset[Field] | None:
    if one is None or other is None:
        return None
    # Of ten thousand chains that write the same, all have the same object.
    if not one:
        return other
    return one if other <= one else one | other
