"""Incoming interfaces whose new connections, or established ones, no rule lets pass.

What is forwarded meets all base chains of prerouting, forward and postrouting, whichever table and
backend they are of: an accept ends one of them alone. So it is blocked as soon as one base chain
provably drops all new TCP and UDP flows: a policy drop that no accepting rule may come before, a
drop or reject that they all meet, a queue that no program listens to. A match that cannot be
decided may let packets pass. One that accepts published flows alone (`ct status dnat`) lets none
pass from an interface if no rule may translate the destination of what arrives there.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Callable, NamedTuple

from netfilter_exporter.rules.detail import Queue, RuleDetail
from netfilter_exporter.rules.families import Family, Hook
from netfilter_exporter.rules.incoming import NEW, Flows, Incoming, Meets
from netfilter_exporter.rules.match import (
    FAMILY_OF_SOURCE,
    Bits,
    Field,
    InSet,
    Match,
    Range,
    contains,
    interface_names,
)
from netfilter_exporter.rules.model import Action, Chain, Rule, Table, Verdict

#: Rules that are walked for one base chain; behind them packets may pass.
_MOST_WALKED = 20_000
#: Interfaces of which the answers are kept.
_MOST_KEPT = 2048


_DROPPING = frozenset({Verdict.DROP, Verdict.JUMP, Verdict.GOTO})

#: Returns a match on what a set of a table holds, where that is known, or the match on the set.
Contents = Callable[[Table, InSet], Match]


def _unread(_: Table, match: InSet) -> Match:
    return match


class Block(NamedTuple):
    """The base chain that drops all of them, and how."""

    families: frozenset[Family]  #: of the table
    table: str
    base: str
    hook: Hook
    chain: str = ""  #: that of the rule; empty: the policy drops
    position: int = 0
    queue: int | None = None  #: that nobody listens to

    @property
    def place(self) -> str:
        """Name the rule or the policy, within its table."""
        if not self.chain:
            return f"the policy of chain {self.base}"
        return f"rule {self.position} of chain {self.chain}"


@dataclasses.dataclass
class Passage:
    """The base chains of one ruleset that may drop what is forwarded."""

    tables: list[Table] = dataclasses.field(default_factory=list)
    #: those that may translate destinations of what arrives, if a rule of `tables` compares that
    publishing: list[Table] = dataclasses.field(default_factory=list)
    _known: dict[tuple[Incoming, frozenset[int] | None, bool, object], Block | None] = (
        dataclasses.field(default_factory=dict)
    )
    _named: frozenset[str] | None = None
    _by_source: bool | None = None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Passage)
            and self.tables == other.tables
            and self.publishing == other.publishing
        )

    __hash__ = None  # type: ignore[assignment]

    def add(self, table: Table) -> None:
        """Add a table if a base chain of it is at the forward hook, or may drop on the way."""
        chains = table.chains.values()
        if table.dormant or not any(chain.sees_forwarded for chain in chains):
            return
        if any(
            chain.hook is Hook.FORWARD or (chain.drops and chain.sees_forwarded) for chain in chains
        ) or any(any(map(_drops, rules)) for rules in table.lists()):
            self.tables.append(table)

    def add_publishing(self, tables: Iterable[Table]) -> None:
        """Add what decides whether a rule accepts any published flow; after all `tables`."""
        if any(map(_asks_for_published, self.tables)):
            self.publishing += filter(_publishes, tables)

    def block(
        self,
        incoming: Incoming,
        listeners: frozenset[int] | None,
        *,
        published: bool = False,
        contents: Contents = _unread,
        stamp: object = None,
    ) -> Block | None:
        """Return what drops all new flows of an interface, or all established ones.

        `listeners` are the queues that a program listens to; None: unknown. `published`: rules of
        the other backend may translate their destinations. `contents` must return the same for a
        set as long as the ruleset and `stamp` are the same.
        """
        key = incoming, listeners, published, stamp
        if key not in self._known:
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            published = published or self._may_publish(incoming)
            flows = functools.partial(Flows, incoming, published=published)
            self._known[key] = self._find(incoming, listeners, flows, contents)
        return self._known[key]

    def _may_publish(self, incoming: Incoming) -> bool:
        return any(
            _Arrival(table, chain, Flows(incoming, chain, arriving=True), None).is_translated(name)
            for table in self.publishing
            if incoming.family in table.families
            for name, chain in table.chains.items()
            if _translates_arriving(chain)
        )

    def _find(
        self,
        incoming: Incoming,
        listeners: frozenset[int] | None,
        flows: Callable[..., Flows],
        contents: Contents,
    ) -> Block | None:
        bases = [
            (chain.hook, chain.priority, table, name)
            for table in self.tables
            if incoming.family in table.families
            for name, chain in table.chains.items()
            if chain.hook is not None and chain.sees_forwarded and _is_judged(chain, incoming)
        ]
        for hook, _, table, name in sorted(bases, key=lambda base: base[:2]):
            base, known = table.chains[name], functools.partial(contents, table)
            walk = _Walk(table, base, flows(base, contents=known), listeners)
            if not walk.passes(name):
                found = walk.dropped_at or ("", 0, None)
                return Block(table.families, table.name, name, hook, *found)
        return None

    @property
    def compares_sources(self) -> bool:
        """Whether a rule that forwarded packets may meet drops some by their source, or a jump."""
        if self._by_source is None:
            self._by_source = any(map(_drops_by_source, self.tables))
        return self._by_source

    @property
    def accepts(self) -> frozenset[str]:
        """The interfaces of which a rule at the forward hook accepts what comes in, by name."""
        if self._named is None:
            found: set[str] = set()
            for table in self.tables:
                for name, chain in table.chains.items():
                    if chain.hook is Hook.FORWARD:
                        found |= _accepted(table, name)
            self._named = frozenset(found)
        return self._named


def _accepted(table: Table, base: str) -> set[str]:
    """Return the incoming interfaces that accepting rules behind a base chain name."""
    found: set[str] = set()
    todo: list[tuple[str, frozenset[str]]] = [(base, frozenset())]
    seen = {todo[0]}
    for chain, named in todo:  # grows while it is walked
        for rule, detail in zip(table.rules(chain), table.details(chain)):
            if rule.verdict is Verdict.ACCEPT:
                found |= named or _incoming(detail.matches)
            elif rule.targets:
                here = named or frozenset(_incoming(detail.matches))
                for step in ((target, here) for target in rule.targets):
                    if step not in seen and len(todo) < _MOST_KEPT:
                        seen.add(step)
                        todo.append(step)
    return found


def _incoming(matches: Iterable[Match]) -> set[str]:
    """Return the interfaces whose new flows matches name."""
    ranges = [match for match in matches if isinstance(match, Range)]
    states = (match.intervals for match in ranges if match.field is Field.CT_STATE)
    if not all(contains(intervals, ((NEW, NEW),)) for intervals in states):
        return set()
    return {
        name
        for match in ranges
        if match.field is Field.INPUT_INTERFACE and not match.negated
        for name in interface_names(match)
    }


class _Walk:
    """The ways of the new flows of one interface through one base chain."""

    def __init__(
        self, table: Table, base: Chain, flows: Flows, listeners: frozenset[int] | None
    ) -> None:
        self.dropped_at: tuple[str, int, int | None] | None = None
        self._table = table
        self._base = base
        self._listeners = listeners
        self._flows = flows
        self._left = _MOST_WALKED
        self._open: set[str] = set()

    def passes(self, base: str) -> bool:
        """Return whether some new flow may pass."""
        passes, back = self._chain(base)
        return passes or (back and not self._base.drops)

    def _chain(self, name: str) -> tuple[bool, bool]:
        """Return whether some flow may pass in a chain, and whether some may come back from it."""
        if name in self._open:
            return True, True
        self._open.add(name)
        try:
            return self._rules(name)
        finally:
            self._open.discard(name)

    def _rules(self, name: str) -> tuple[bool, bool]:
        back = False
        for number, (rule, detail) in enumerate(
            zip(self._table.rules(name), self._table.details(name)), 1
        ):
            self._left -= 1
            if self._left < 0:
                return True, True
            meets = self._flows.meet(rule, detail) if _matters(rule) else Meets.NEVER
            if meets is Meets.NEVER:
                continue
            sure = meets is Meets.ALWAYS
            if self._lets_pass(rule):
                return True, back
            if rule.verdict is Verdict.RETURN:
                back = True
                if sure:
                    return False, back
            elif rule.targets or rule.maps:
                passes, returns = self._behind(rule)
                goes = rule.verdict is Verdict.GOTO
                back = back or (goes and returns)
                if passes or (sure and (goes or not returns)):
                    return passes, back
            elif sure:
                self._note(name, number, rule)
                return False, back
        return False, True

    def _behind(self, rule: Rule) -> tuple[bool, bool]:
        """Return what `_chain` returns for all chains that a jump leads to."""
        if rule.maps:  # what else its elements say is not known
            return True, True
        found = [self._chain(target) for target in rule.targets]
        return any(passes for passes, _ in found), any(back for _, back in found)

    def _lets_pass(self, rule: Rule) -> bool:
        """Return whether a packet that a rule matches may go on to the next base chain."""
        queue = rule.form.queue
        if queue is not None:
            return not self._is_dead(queue)
        if rule.action is not None:
            # Published services come in; what goes out does not match such a rule.
            inbound = rule.action in {Action.DNAT, Action.REDIRECT}
            return not (inbound and self._base.drops and self._base.hook is Hook.PREROUTING)
        return rule.verdict in {Verdict.ACCEPT, Verdict.QUEUE}

    def _is_dead(self, queue: Queue) -> bool:
        """Return whether packets of a queue are dropped: nobody listens (nf_queue, v6.18)."""
        if queue.bypass or not queue.known or self._listeners is None:
            return False
        return not any(queue.first <= number <= queue.last for number in self._listeners)

    def _note(self, chain: str, position: int, rule: Rule) -> None:
        queue = rule.form.queue
        self.dropped_at = chain, position, queue.first if queue else None


class _Arrival(_Walk):
    """Their ways through a NAT chain at prerouting: here a packet passes by being translated."""

    def is_translated(self, base: str) -> bool:
        """Return whether a rule may translate the destination of some new flow."""
        return self._chain(base)[0]

    def _lets_pass(self, rule: Rule) -> bool:
        return rule.action is not None


def _translates_arriving(chain: Chain) -> bool:
    return chain.translates and chain.hook is Hook.PREROUTING


def _publishes(table: Table) -> bool:
    return not table.dormant and any(map(_translates_arriving, table.chains.values()))


def _asks_for_published(table: Table) -> bool:
    """Return whether a rule compares the status of flows: by the first rule of each form."""
    forms: set[int] = set()
    for chain in table.chains.values():
        start = 0
        for rule in chain.rules:
            form, end = rule.form, start + rule.form.size
            if id(form) not in forms:
                forms.add(id(form))
                if any(map(_compares_status, RuleDetail(form, chain.values[start:end]).matches)):
                    return True
            start = end
    return False


def _compares_status(match: Match) -> bool:
    return isinstance(match, (Bits, Range)) and match.field is Field.CT_STATUS


def _drops_by_source(table: Table) -> bool:
    """Return whether some rule may: by the first rule of each form, from the base chains on.

    Not behind verdict maps, where nothing is proven to drop all.
    """
    bases = (name for name, chain in table.chains.items() if chain.sees_forwarded)
    forms: set[int] = set()
    for name in table.behind(bases, maps=False):
        for rule, detail in zip(table.rules(name), table.details(name)):
            if rule.verdict in _DROPPING and id(rule.form) not in forms:
                forms.add(id(rule.form))
                if any(map(_compares_source, detail.matches)):
                    return True
    return False


def _compares_source(match: Match) -> bool:
    fields = match.fields if isinstance(match, InSet) else (getattr(match, "field", None),)
    return any(field in FAMILY_OF_SOURCE for field in fields)


def _is_judged(chain: Chain, incoming: Incoming) -> bool:
    """Return whether a base chain is judged here; what hides translations is another fault.

    A NAT chain sees only the first packet of a flow, and a chain at prerouting may see a packet
    before its destination is translated.
    """
    if incoming.translated and chain.hook is Hook.PREROUTING:
        return False
    return chain.drops and not incoming.established if chain.type == "nat" else True


def _drops(rule: Rule) -> bool:
    return rule.verdict is Verdict.DROP or rule.form.queue is not None


def _matters(rule: Rule) -> bool:
    return bool(rule.verdict or rule.action or rule.maps or rule.form.queue)
