"""Translating rules that repeat an earlier one: tools that append at each reload leave them.

The first of them translates; the others change nothing, and hide nothing that matters.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from netfilter_exporter.rules.detail import NatTarget, RuleDetail
from netfilter_exporter.rules.match import Opaque
from netfilter_exporter.rules.model import Action, Rule, Table
from netfilter_exporter.rules.repeated import repeated
from netfilter_exporter.rules.termination import Termination

#: They may do without: then the address is that of the interface.
_WITHOUT_TARGET = frozenset({Action.MASQUERADE, Action.REDIRECT})


def of_chain(table: Table, chain: str) -> Iterator[Rule]:
    """Yield the translating rules of a chain that are identical to an earlier one in it."""
    rules = table.rules(chain)
    if sum(rule.action is not None for rule in rules) < 2:
        return
    again = repeated(key for _, _, key in _with_keys(table, chain))
    seen: set[tuple[int, bytes]] = set()
    for rule, detail, key in _with_keys(table, chain) if again else ():
        if hash(key) not in again:
            continue
        if key not in seen:
            seen.add(key)
        elif _is_known(detail):
            yield rule


def _with_keys(table: Table, chain: str) -> Iterator[tuple[Rule, RuleDetail, tuple[int, bytes]]]:
    """Yield the translating rules of a chain, each with what is equal where they are identical."""
    numbers: dict[Rule, int] = {}
    by_object: dict[int, int] = {}  # most rules that do the same are one object
    for rule, detail in zip(table.rules(chain), table.details(chain)):
        if rule.action is None:
            continue
        if id(rule) not in by_object:
            same = rule._replace(counted=False)
            by_object[id(rule)] = numbers.setdefault(same, len(numbers))
        yield rule, detail, (by_object[id(rule)], detail.values)


def _is_known(detail: RuleDetail) -> bool:
    """Return whether equal values of a form mean the same rule."""
    known = all(not isinstance(match, Opaque) or match.stable for match in detail.matches)
    return known and (detail.nat is None or detail.nat.known)


def is_in_question(rules: Sequence[Rule], termination: Termination) -> bool:
    """Return whether a rule that translates every packet is followed by another translation."""
    if [rule.action for rule in rules].count(None) > len(rules) - 2:
        return False  # at most one translates
    for number, rule in enumerate(rules):
        if termination.hides(rule):
            action = rule.action
            return action is not None and any(r.action is action for r in rules[number + 1 :])
    return False


def harmless(table: Table, chain: str, termination: Termination) -> Collection[int]:
    """Return the rules, counted from 0, before which the same translation takes every packet."""
    rules, details = table.rules(chain), list(table.details(chain))
    first = next(number for number, rule in enumerate(rules) if termination.hides(rule))
    wanted = translation(rules[first], details[first])
    if wanted is None:
        return ()
    return {
        number
        for number in range(first + 1, len(rules))
        if translation(rules[number], details[number]) == wanted
    }


def translation(rule: Rule, detail: RuleDetail) -> tuple[Action | None, NatTarget | None] | None:
    """Return what a rule translates to; None where that is unknown."""
    target = detail.nat
    if target is None:
        return (rule.action, None) if rule.action in _WITHOUT_TARGET else None
    return (rule.action, target) if target.known else None
