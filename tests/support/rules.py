"""Rulesets in the exporter's own model, made of their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netfilter_exporter.rules.detail import NO_FORM, Form, MatchReader, NatReader, NatTarget
from netfilter_exporter.rules.families import IPV4, Backend, Family, Hook
from netfilter_exporter.rules.match import Field, Match, covers, narrowed
from netfilter_exporter.rules.model import Action, Chain, Rule, Table, Verdict

MASQUERADE = Rule(action=Action.MASQUERADE, conditional=True)
MATCH = Rule(conditional=True)
HOOKS = {
    "pre": Hook.PREROUTING,
    "in": Hook.INPUT,
    "out": Hook.OUTPUT,
    "post": Hook.POSTROUTING,
}


def covers_all(outer: Sequence[Match], inner: Sequence[Match]) -> bool:
    """Return whether a rule with the matches `outer` provably matches all that `inner` match."""
    inner = narrowed(inner)
    return all(any(covers(wide, narrow) for narrow in inner) for wide in outer)


def plain(rule: Rule) -> Rule:
    """Return what a rule does, without how its detail is decoded."""
    return rule._replace(form=NO_FORM)


def verdict(name: str) -> Rule:
    return Rule(verdict=Verdict(name))


def matching(
    rule: Rule,
    *matches: Match,
    to: NatTarget | None = None,
    writes: frozenset[Field] | None = frozenset(),
) -> Rule:
    """Return `rule` for packets that fulfil `matches`, translating to `to`."""
    readers = tuple(MatchReader(_given, (match,)) for match in matches)
    nat = NatReader(_same, (to,)) if to else None
    form = Form(0, readers, nat, writes=writes)
    return rule._replace(conditional=bool(matches), form=form)


def _given(*matches: Match) -> tuple[Match, ...]:
    return matches


def _same(target: NatTarget) -> NatTarget:
    return target


def goto(target: str) -> Rule:
    return Rule(verdict=Verdict.GOTO, targets=(target,))


def jump(target: str) -> Rule:
    return Rule(verdict=Verdict.JUMP, targets=(target,))


def nat_table(
    families: frozenset[Family] = IPV4,
    maps: Mapping[str, tuple[str, ...]] | None = None,
    *,
    dormant: bool = False,
    **chains: Sequence[Rule],
) -> Table:
    """Return a table t; chains named pre, in, out and post are NAT chains at those hooks."""
    built = {
        name: Chain(list(rules), HOOKS[name], "nat", 100) if name in HOOKS else Chain(list(rules))
        for name, rules in chains.items()
    }
    return Table(Backend.NFTABLES, families, "t", built, maps or {}, dormant)


def filter_table(
    hook: Hook,
    priority: int,
    *rules: Rule,
    families: frozenset[Family] = IPV4,
    drops: bool = False,
    **chains: Sequence[Rule],
) -> Table:
    """Return a table t with one filter chain, base, and user chains."""
    base = Chain(list(rules), hook, "filter", priority, drops)
    user = {name: Chain(list(rules)) for name, rules in chains.items()}
    return Table(Backend.NFTABLES, families, "t", {"base": base, **user}, {})
