"""Rules that no packet meets because an earlier rule takes all those packets first.

A rule with matches hides a later one that demands the same or more, if no packet gets beyond it
that fulfils them, and nothing in between changes what they compare. So ``-o wan -j ACCEPT`` hides
``-o wan -s 10.1.0.0/16 -j MASQUERADE``, also from a chain that is jumped to before. What depends on
chance hides nothing; what depends on something unknown leaves the later rule undecided.

Reading a rule in full takes microseconds: MOST_READ of a table are. Of the others it is compared
whether they demand the very same, by their bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from netfilter_exporter.rules import duplicates
from netfilter_exporter.rules.chain_ends import (
    MOST_RULES,
    UNKNOWN,
    ChainEnds,
    demands_of,
    translated,
)
from netfilter_exporter.rules.conditions import ANY, Condition, condition
from netfilter_exporter.rules.cover_index import CoverIndex, Entry, Hider, Translated
from netfilter_exporter.rules.detail import Form, RuleDetail, Slot
from netfilter_exporter.rules.earlier import Earlier
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.match import Field
from netfilter_exporter.rules.model import Rule, Table, Verdict
from netfilter_exporter.rules.repeated import repeated
from netfilter_exporter.rules.shadows import ShadowingRule
from netfilter_exporter.rules.termination import Termination

#: Rules of a table that are read in full, besides those without their own number or name.
MOST_READ = 256

_BEFORE = -1  #: the number of a rule of an earlier table
_NO_FIELDS: frozenset[Field] = frozenset()
_EXEMPTIONS = frozenset({Verdict.ACCEPT, Verdict.RETURN})


class ChainCovers(NamedTuple):
    """What is covered in a chain, by the number of the rule, counted from 0."""

    hidden: Mapping[int, ShadowingRule] = {}
    #: accepts and returns that were to exempt packets from a translation before them
    exemptions: Mapping[int, ShadowingRule] = {}
    undecided: frozenset[int] = frozenset()
    compared: bool = True  #: it depends on what the rules compare, not only on what they do


#: The identity of a form, and what else decides how rules of it are read.
_FormKey = tuple[int, bool, "frozenset[Family]"]
#: What is the same for rules that demand the same: their form, and the bytes that they compare.
_Compared = tuple[_FormKey, bytes]


class Progress(NamedTuple):
    """What the chains that were compared so far have left for the next: it depends on them."""

    rules_left: int
    jumps_left: int
    forms: tuple[_FormKey, ...]  #: that were met
    ends: tuple[str, ...]  #: chains whose ends are known


NO_COVERS = ChainCovers(compared=False)
_NOTHING_FOUND = ChainCovers()


class Covers:
    """What rules of one table cover, asked chain by chain."""

    def __init__(self, table: Table, termination: Termination, earlier: Earlier) -> None:
        self.table = table
        self.earlier = earlier
        self.ends = ChainEnds(table, termination)
        self.left = MOST_READ
        self._forms: dict[_FormKey, _FormDemands] = {}
        self._progress: Progress | None = None

    def progress(self) -> Progress:
        """Return how far it has come."""
        if self._progress is None:
            self._progress = Progress(
                self.left, self.ends.jumps_left, tuple(self._forms), tuple(self.ends.finals)
            )
        return self._progress

    def go_on(self, before: Covers, begin: Progress, end: Progress) -> None:
        """Go from `begin` on as `before` did with a chain that brought it to `end`."""
        if begin == end:
            return
        self.left, self.ends.jumps_left = end.rules_left, end.jumps_left
        for key in end.forms[len(begin.forms) :]:
            self._forms[key] = before._forms[key]
        for name in end.ends[len(begin.ends) :]:
            self.ends.finals[name] = before.ends.finals[name]
        self._progress = end

    def of_chain(self, name: str) -> ChainCovers:
        """Return what is covered in a chain."""
        rules = self.table.rules(name)
        if not self.earlier.get(name) and not self._is_in_question(rules):
            return NO_COVERS
        self._progress = None
        scan = _Scan(self, name)
        for number, (rule, detail) in enumerate(zip(rules, self.table.details(name))):
            scan.add(number, rule, detail)
        if not scan.hidden and not scan.exemptions and not scan.undecided:
            return _NOTHING_FOUND
        return ChainCovers(scan.hidden, scan.exemptions, frozenset(scan.undecided))

    def _is_in_question(self, rules: Sequence[Rule]) -> bool:
        """Return whether a rule that may hide others is followed by one that may be hidden."""
        for following, rule in enumerate(rules[:-1], 1):
            if self._may_hide(rule):
                return any(_is_missed(rule) or _is_exemption(rule) for rule in rules[following:])
        return False

    def _may_hide(self, rule: Rule) -> bool:
        known = self._forms.get(_form_key(rule))
        by_chance = known is not None and known.demands is None
        return not by_chance and self.ends.may_hide(rule)

    def is_too_much(self, rule: Rule) -> bool:
        """Return whether a rule can no longer be read in full."""
        return self.left <= 0 and rule.form.size > 0

    def read_more(self, rule: Rule) -> bool:
        """Return whether a rule may be read in full, and count it."""
        if self.is_too_much(rule):
            return False
        self.left -= rule.form.size > 0
        return True

    def demands(self, rule: Rule, detail: RuleDetail) -> _FormDemands:
        """Return what is known of all rules of a form; `detail` is of one of them."""
        key = _form_key(rule)
        known = self._forms.get(key)
        if known is None:
            known = self._forms[key] = _FormDemands(rule, detail, self.table.families)
        return known


class _FormDemands:
    """What rules of a form demand, as far as it is the same for all of them."""

    def __init__(self, rule: Rule, detail: RuleDetail, families: frozenset[Family]) -> None:
        self.form = rule.form  # so that no other one gets its identity
        self.slots = _slots(rule.form)
        self.demands = demands_of(rule, detail, families)  #: of the first of them
        self.comparable = self.demands is not None and not self.demands.unknown


def _form_key(rule: Rule) -> _FormKey:
    return id(rule.form), rule.conditional, rule.families


def _slots(form: Form) -> list[Slot] | None:
    """Return which of a rule's values its matches are read from; None: all of them."""
    if form.nat is None:
        return None
    return sorted({slot for reader in form.matches for slot in reader.slots})


class _Scan:
    """One chain, rule by rule."""

    def __init__(self, covers: Covers, name: str) -> None:
        self.hidden: dict[int, ShadowingRule] = {}
        self.exemptions: dict[int, ShadowingRule] = {}
        self.undecided: set[int] = set()
        self._covers = covers
        self._name = name
        self._families = covers.table.families
        self._index = CoverIndex()
        for hider in covers.earlier.get(name, ()):
            self._index.add(_BEFORE, hider)
        self._index_may_change: bool | None = None  #: by some rule of the table; None: not known
        self._jumped: Condition | None = None  #: what the last rule read demands, if it jumps
        #: Rules at which a packet ends its way, by form and by the bytes that they compare.
        self._same: dict[_Compared, tuple[int, Rule, RuleDetail]] = {}
        self._repeated = _repeated(covers.table, name)

    def add(self, number: int, rule: Rule, detail: RuleDetail) -> None:
        """Look at the next rule: what covers it, and what it covers."""
        ends = self._covers.ends
        self._forget_changed(rule)
        if not self._same and rule.verdict is Verdict.JUMP and self._covers.is_too_much(rule):
            self._jumped = None
            return
        hides = ends.may_hide(rule)
        if not hides and not _is_missed(rule):
            return
        of_form = self._covers.demands(rule, detail)
        key = _form_key(rule), _compared(detail, of_form.slots)
        read = (hides or bool(self._index)) and self._covers.read_more(rule)
        demands = self._demands(rule, detail, of_form) if read else None
        ends_jump = self._ends_jump(rule, demands)
        by = self._first_same(rule, key)
        if read and self._index:
            by = self._first_wider(number, rule, detail, demands, by)
        if by is not None and not ends_jump:
            self._note(number, rule, detail, by[1])
        elif hides:
            comparable = of_form.comparable and rule.verdict is not Verdict.JUMP
            if comparable and hash(key) in self._repeated and ends.writes(rule) == _NO_FIELDS:
                self._same[key] = number, rule, detail
            if demands is not None and demands.possible:
                for hider in ends.hiders(self._name, number, rule, detail, demands):
                    if not ends.changes(rule, hider.demands):
                        self._index.add(number, hider)
                        self._index_may_change = None

    def _forget_changed(self, rule: Rule) -> None:
        """Forget the rules of which a packet may no longer fulfil the condition behind `rule`."""
        ends = self._covers.ends
        if self._same and ends.writes(rule) != _NO_FIELDS:
            self._same.clear()
        if self._index_may_change is None:  # seldom, but a chain may have ten thousand rules
            self._index_may_change = self._index.depends_on(ends.written_anywhere)
        if self._index_may_change:
            self._index.forget(functools.partial(ends.changes, rule))

    def _first_wider(
        self,
        number: int,
        rule: Rule,
        detail: RuleDetail,
        demands: Condition | None,
        same: Entry | None,
    ) -> Entry | None:
        """Return the first rule that covers this one, where `same` is the first that equals it."""
        wanted = demands or _as_far_as_known(rule, detail, self._families)
        if not wanted.possible:
            return same
        first, undecided = self._index.find(wanted, rule.families & self._families)
        if same is None and undecided and rule.action:
            self.undecided.add(number)
        if first is None or (same is not None and same[0] < first[0]):
            return same
        return first

    def _ends_jump(self, rule: Rule, demands: Condition | None) -> bool:
        """Return whether a rule ends the way of just the packets that were sent to a chain before.

        Such exempts none from that chain: ``-o wan -j POST_external`` and ``-o wan -j RETURN``, as
        firewalld writes.
        """
        jumped, self._jumped = self._jumped, demands if rule.verdict is Verdict.JUMP else None
        return jumped is not None and jumped == demands and not _is_missed(rule)

    def _note(self, number: int, rule: Rule, detail: RuleDetail, by: Hider) -> None:
        """Note that a rule is covered, where that matters."""
        if _is_missed(rule):
            if not self._is_same(rule, detail, by.translated):
                self.hidden[number] = by.place
        elif _is_exemption(rule) and by.translated is not None:
            self.exemptions[number] = by.place

    def _first_same(self, rule: Rule, key: _Compared) -> Entry | None:
        found = self._same.get(key)
        if found is None:
            return None
        number, before, detail = found
        if not before.families >= rule.families & self._families:
            return None
        place = ShadowingRule(self._name, number + 1, before)
        return number, Hider(place, ANY, before.families, translated(before, detail))

    def _demands(self, rule: Rule, detail: RuleDetail, of_form: _FormDemands) -> Condition | None:
        if of_form.demands is None or not rule.form.size:
            return of_form.demands
        return demands_of(rule, detail, self._families)

    def _is_same(self, rule: Rule, detail: RuleDetail, by: Translated) -> bool:
        """Return whether what covers a rule translates just as it does: then it is not missed."""
        if by is None or by == UNKNOWN:
            return False
        if rule.action:
            return duplicates.translation(rule, detail) == by
        return self._translate_alike(self._covers.table.leads(rule), by)

    def _translate_alike(self, chains: Iterable[str], by: Translated) -> bool:
        """Return whether all translating rules of some chains, and behind them, do the same."""
        table = self._covers.table
        for number, chain in enumerate(table.behind(chains)):
            rules = table.rules(chain)
            if number >= MOST_RULES or len(rules) > MOST_RULES or any(r.maps for r in rules):
                return False
            for rule, detail in zip(rules, table.details(chain)):
                if rule.action and duplicates.translation(rule, detail) != by:
                    return False
        return True


def _repeated(table: Table, chain: str) -> Collection[int]:
    """Return the hashes of what more than one rule of a chain demands: one that ends a way, too."""
    rules = table.rules(chain)
    if all(rule.verdict is Verdict.JUMP for rule in rules):
        return ()
    return repeated(_keys(rules, table.details(chain)))


def _keys(rules: Iterable[Rule], details: Iterable[RuleDetail]) -> Iterator[_Compared]:
    slots: dict[int, list[Slot] | None] = {}  # by the identity of the form
    for rule, detail in zip(rules, details):
        form = rule.form
        if id(form) not in slots:
            slots[id(form)] = _slots(form)
        yield _form_key(rule), _compared(detail, slots[id(form)])


def _compared(detail: RuleDetail, slots: list[Slot] | None) -> bytes:
    """Return the bytes that decide what a rule demands, among rules of its form."""
    if slots is None:
        return detail.values
    return b"".join([detail.values[start:end] for start, end in slots])


def _as_far_as_known(rule: Rule, detail: RuleDetail, families: frozenset[Family]) -> Condition:
    """Return what a rule demands besides that it depends on chance."""
    known = (match for match in detail.matches if getattr(match, "stable", True))
    return condition(known, families & rule.families) or ANY


def _is_missed(rule: Rule) -> bool:
    """Return whether a rule that no packet reaches matters: it translates, or leads to others."""
    return bool(rule.action or rule.targets or rule.maps)


def _is_exemption(rule: Rule) -> bool:
    return rule.conditional and rule.verdict in _EXEMPTIONS
