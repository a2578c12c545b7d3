"""Checks of NAT rules that no packet reaches: an earlier rule hides them, or their table sleeps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from netfilter_exporter.check import commands, nft_commands, places
from netfilter_exporter.check.context import Context
from netfilter_exporter.check.findings import Found, Value, count
from netfilter_exporter.check.rules import every_ruleset_read
from netfilter_exporter.check.shell import Line, comment
from netfilter_exporter.facts.rulesets import Readable
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.model import Rule, Verdict
from netfilter_exporter.rules.shadows import Shadow, ShadowingRule


def nat_rules_unreachable(context: Context) -> Iterator[Found]:
    """Rules that an earlier one takes all packets from; translating rules of a dormant table."""
    for ruleset in context.rulesets:
        yield from _hidden(context, ruleset)
        yield from _exempting_too_late(context, ruleset)
        yield from _dormant(ruleset)
    every_ruleset_read(context)


def _hidden(context: Context, ruleset: Readable) -> Iterator[Found]:
    """Yield one finding for each rule that hides others."""
    by_shadowing_rule: dict[tuple[str, frozenset[Family], ShadowingRule | None], list[Shadow]] = (
        defaultdict(list)
    )
    for shadow in ruleset.facts.shadows:
        by_shadowing_rule[shadow.table, shadow.families, shadow.shadowing_rule].append(shadow)
    for (table, families, shadowing_rule), shadows in by_shadowing_rule.items():
        place = commands.where(ruleset.backend, families, table)
        yield Found(
            f"{place}: {count(len(shadows), 'translating rule')} not reached:"
            f" {_cause(shadowing_rule)}.",
            _ENDS_FOR_ALL
            if shadowing_rule is None or not shadowing_rule.rule.conditional
            else _ENDS_FOR_THEM,
            _evidence(ruleset.backend, table, shadowing_rule, shadows),
            _unhide(context, ruleset.backend, shadows[0]),
        )


_ENDS_FOR_ALL = (
    "A rule without a match matches every packet. The kernel never evaluates the rules after it."
)
_ENDS_FOR_THEM = (
    "The earlier rule matches every packet that the NAT rules match. For those packets the kernel"
    " skips the later rules of the chain."
)


def _cause(shadowing_rule: ShadowingRule | None) -> str:
    if shadowing_rule is None:
        return "no packet reaches them any more"
    rule = shadowing_rule.rule
    which = f"rule {shadowing_rule.position} of chain {shadowing_rule.chain} ({described(rule)})"
    if shadowing_rule.table:
        families, name = shadowing_rule.table
        which += f" of table {nft_commands.family(families)} {name}, at an earlier priority,"
    cause = f"{which} matches {'the same packets' if rule.conditional else 'every packet'} first"
    return f"{cause}, and none returns from there" if rule.verdict is Verdict.JUMP else cause


def _exempting_too_late(context: Context, ruleset: Readable) -> Iterator[Found]:
    """Yield a finding for each exemption behind the translation that it was to exempt from."""
    for shadow in ruleset.facts.exemptions:
        place = commands.where(ruleset.backend, shadow.families, shadow.table)
        yield Found(
            f"{place}: hidden exemption: rule {shadow.position} of chain {shadow.chain}"
            f" ({verdict(shadow.rule)}): {_cause(shadow.shadowing_rule)}.",
            "The rule exempts packets from translation, but an earlier rule translates all of"
            " them.",
            _evidence(ruleset.backend, shadow.table, shadow.shadowing_rule, [shadow]),
            _move_up(context, ruleset.backend, shadow),
        )


def _evidence(
    backend: Backend, table: str, shadowing_rule: ShadowingRule | None, shadows: list[Shadow]
) -> dict[str, Value]:
    found: dict[str, Value] = {"backend": backend.value, "table": table}
    if shadowing_rule:
        if shadowing_rule.table:
            found["earlier_table"] = shadowing_rule.table[1]
        found["chain"] = shadowing_rule.chain
        found["position"] = shadowing_rule.position
        found["verdict"] = verdict(shadowing_rule.rule)
        if shadowing_rule.rule.comment:
            found["comment"] = shadowing_rule.rule.comment
    hidden = [f"{s.chain} rule {s.position} ({verdict(s.rule)})" for s in shadows]
    return {**found, "hidden": ", ".join(hidden)}


def _move_up(context: Context, backend: Backend, shadow: Shadow) -> tuple[Line, ...]:
    """Return what puts an exemption before the translation."""
    before = shadow.shadowing_rule
    if before is None:
        return ()
    table = before.table or (shadow.families, shadow.table)
    place = places.of(context, backend, table, before.chain, before.position)
    return (
        *place.list_rules(),
        comment(f"put the exemption before rule {before.position} ({described(before.rule)}):"),
        *place.insert_rule(),
        comment("then make the same change where the rules are stored"),
    )


def _unhide(context: Context, backend: Backend, shadow: Shadow) -> tuple[Line, ...]:
    shadowing_rule = shadow.shadowing_rule
    if shadowing_rule is None:
        return places.of(
            context, backend, (shadow.families, shadow.table), shadow.chain
        ).list_rules()
    table = shadowing_rule.table or (shadow.families, shadow.table)
    place = places.of(context, backend, table, shadowing_rule.chain, shadowing_rule.position)
    if shadowing_rule.table:
        return (
            *place.list_rules(),
            comment(f"narrow rule {shadowing_rule.position}, or give its base chain a priority"),
            comment(f"behind that of table {shadow.table}"),
        )
    return (
        *commands.unhide(
            place,
            shadowing_rule.position,
            described(shadowing_rule.rule),
            translates=shadowing_rule.rule.conditional and shadowing_rule.rule.action is not None,
        ),
        comment("then change it where the rules come from, too"),
    )


def verdict(rule: Rule) -> str:
    """Return what a rule does with a packet, in the words of nft."""
    if rule.action is not None:
        return rule.action.value
    if rule.verdict is None:
        return "continue"
    return " ".join((rule.verdict.value, *rule.targets))


def described(rule: Rule) -> str:
    """Return a rule that hides others as a person would call it."""
    text = verdict(rule) if rule.conditional else f"{verdict(rule)}, no match"
    return f"{text}, comment {rule.comment!r}" if rule.comment else text


def _dormant(ruleset: Readable) -> Iterator[Found]:
    for families, table in sorted(ruleset.facts.dormant_tables, key=lambda found: found[1]):
        rules = max(ruleset.facts.dormant[family, table] for family in families)
        word = nft_commands.family(families)
        yield Found(
            f"table {word} {table} is dormant: its {count(rules, 'translating rule')} listed, not"
            " in effect.",
            "The flag dormant takes the chains of a table off their hooks.",
            {"table": table, "family": word, "rules": rules, "flags": "dormant"},
            (
                *nft_commands.Target(families, table).wake_table(),
                comment("adding the present table without the flag activates it"),
            ),
        )
