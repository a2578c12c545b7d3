"""Checks of rules that are there and do not do what they say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from netfilter_exporter.check import (
    commands,
    handles,
    iptables_commands,
    nft_commands,
)
from netfilter_exporter.check.context import FAMILY, Context, Readable
from netfilter_exporter.check.findings import Found, Severity, Value, count, unknown
from netfilter_exporter.check.shell import Line, comment
from netfilter_exporter.check.tracking import restore_rules
from netfilter_exporter.facts import expected
from netfilter_exporter.facts.forwarding import interfaces
from netfilter_exporter.facts.matchability import named_in_sets, unmatched
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.facts.roles import overlapping_backends
from netfilter_exporter.kernel.errors import raise_worst
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.model import INDEX, Rule, Verdict, is_among
from netfilter_exporter.rules.shadows import Shadow, ShadowingRule


def every_ruleset_read(context: Context) -> None:
    """Raise why a ruleset could not be read: what is not found may be in it."""
    raise_worst([error for family in Family if (error := context.unread(family))])


# -- NetfilterNatRulesUnreachable --------------------------------------------------------------


def nat_rules_unreachable(context: Context) -> Iterator[Found]:
    """Translating rules behind an unconditional verdict, or in a dormant table."""
    for ruleset in context.rulesets:
        yield from _hidden(context, ruleset)
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
        cause = "nothing leads to them any more"
        if shadowing_rule:
            cause = (
                f"rule {shadowing_rule.position} of chain {shadowing_rule.chain}"
                f" ({described(shadowing_rule.rule)})"
            )
            cause += " takes every packet first"
            if shadowing_rule.rule.verdict is Verdict.JUMP:
                cause += ", and none comes back from there"
        place = commands.where(ruleset.backend, families, table)
        yield Found(
            f"{place}: {count(len(shadows), 'translating rule')} not reached: {cause}.",
            "A rule without a match takes every packet; what follows it in its chain is listed and"
            " never asked.",
            _evidence(ruleset.backend, table, shadowing_rule, shadows),
            _unhide(context, ruleset.backend, shadows[0]),
        )


def _evidence(
    backend: Backend, table: str, shadowing_rule: ShadowingRule | None, shadows: list[Shadow]
) -> dict[str, Value]:
    found: dict[str, Value] = {"backend": backend.value, "table": table}
    if shadowing_rule:
        found["chain"] = shadowing_rule.chain
        found["position"] = shadowing_rule.position
        found["verdict"] = verdict(shadowing_rule.rule)
        if shadowing_rule.rule.comment:
            found["comment"] = shadowing_rule.rule.comment
    hidden = [f"{s.chain} rule {s.position} ({verdict(s.rule)})" for s in shadows]
    return {**found, "hidden": ", ".join(hidden)}


def _unhide(context: Context, backend: Backend, shadow: Shadow) -> tuple[Line, ...]:
    shadowing_rule = shadow.shadowing_rule
    if shadowing_rule is None:
        return _place(context, backend, shadow, shadow.chain).list_rules()
    place = _place(context, backend, shadow, shadowing_rule.chain, shadowing_rule.position)
    return (
        *commands.unhide(place, shadowing_rule.position, described(shadowing_rule.rule)),
        comment("then change it where the rules come from, too"),
    )


def _place(
    context: Context, backend: Backend, shadow: Shadow, chain: str, position: int = 0
) -> commands.Place:
    """Return a chain of the table of `shadow`, or its rule at `position`."""
    families, table = shadow.families, shadow.table
    if backend is Backend.LEGACY:
        return iptables_commands.Target(families, table, chain, position)
    found = handles.read(context.snapshot, families, table, chain, position)
    return nft_commands.Target(families, table, chain, found)


def verdict(rule: Rule) -> str:
    """Return what a rule does with a packet, in the words of nft."""
    if rule.action is not None:
        return rule.action.value
    if rule.verdict is None:
        return "continue"
    return " ".join((rule.verdict.value, *rule.targets))


def described(rule: Rule) -> str:
    """Return a rule without a match as a person would call it."""
    text = f"{verdict(rule)}, no match"
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
                comment("adding a table that is there, without the flag, wakes it up"),
            ),
        )


# -- NetfilterNatInterfaceMissing --------------------------------------------------------------


def nat_interface_missing(context: Context) -> Iterator[Found]:
    """A translating rule, or the jump to it, names an interface that the host lacks."""
    named: dict[str, list[tuple[Backend, Family, str]]] = defaultdict(list)
    for ruleset in context.rulesets:
        for family, chain, interface in ruleset.facts.interfaces:
            if not is_among(interface, interfaces(context.snapshot)):
                named[interface].append((ruleset.backend, family, chain))
    for backend, family, chain, interface in named_in_sets(unmatched(context.snapshot)):
        named[interface].append((backend, family, chain))
    for interface, places in sorted(named.items()):
        where = {f"{backend.value} {FAMILY[family]} {chain}" for backend, family, chain in places}
        rulesets = ((backend, family) for backend, family, _ in places)
        evidence: dict[str, Value] = {"interface": interface, "named_in": ", ".join(sorted(where))}
        if interface.startswith(INDEX):
            yield _stale_index(interface[len(INDEX) :], evidence)
            continue
        yield Found(
            f"NAT rules name the interface {interface}, which is not there.",
            "They match nothing. An interface that was renamed, or a tunnel that is down.",
            evidence,
            (
                commands.LIST_INTERFACES,
                *commands.list_naming(interface, rulesets),
                *commands.rename_interface(interface),
            ),
        )
    every_ruleset_read(context)


def _stale_index(index: str, evidence: dict[str, Value]) -> Found:
    return Found(
        f"NAT rules name interface number {index}, which is not there.",
        "iif and oif keep the number that an interface had when the rule was loaded. It was made"
        " anew since, with another one, and they match nothing.",
        evidence,
        (
            commands.LIST_INTERFACES,
            commands.list_naming_index(index),
            comment("load the rules again, and write iifname and oifname instead"),
        ),
    )


# -- NetfilterNatBackendsMixed -----------------------------------------------------------------


def nat_backends_mixed(context: Context) -> Iterator[Found]:
    """Translating rules in nftables and in legacy tables of one family."""
    for family in Family:
        counts = {backend: context.rules(family, backend) for backend in Backend}
        if not all(counts.values()):
            continue
        overlapping = overlapping_backends(context.snapshot).get(family, True)
        yield Found(
            f"{FAMILY[family]}: NAT rules in both backends: {counts[Backend.NFTABLES]} in nftables,"
            f" {counts[Backend.LEGACY]} in {iptables_commands.tool(frozenset({family}))}.",
            _DECIDED_BY_ORDER if overlapping else _DISJOINT,
            {"family": family.value, **{b.value: number for b, number in counts.items()}},
            (*commands.move_to_nftables(family),),
            None if overlapping else Severity.INFO,
        )
    every_ruleset_read(context)


_DECIDED_BY_ORDER = (
    "A packet may match rules of both at the same hook. The backend that was registered last is"
    " asked first and decides, so that the next boot may decide otherwise."
)
_DISJOINT = "No packet matches rules of both at the same hook: they do not disturb each other."


# -- NetfilterNotrackRules ---------------------------------------------------------------------


def notrack_rules(context: Context) -> Iterator[Found]:
    """Rules that exempt packets from tracking, beside rules that need it."""
    for ruleset in context.rulesets:
        for family in Family:
            exempting = ruleset.facts.notrack[family]
            if not exempting or not context.rules(family):
                continue
            name = FAMILY[family]
            yield Found(
                f"{name}: {count(exempting, 'notrack rule')} in {ruleset.backend.value}, beside"
                f" {count(context.rules(family), 'NAT rule')}.",
                "What they match is not tracked, and so not translated.",
                {"family": family.value, "backend": ruleset.backend.value, "rules": exempting},
                (commands.list_notrack(ruleset.backend, family),),
            )
    every_ruleset_read(context)


# -- NetfilterExpectedMissing ------------------------------------------------------------------


def expected_missing(context: Context) -> Iterator[Found]:
    """The configuration says that it must exist, and it does not."""
    for kind, name, is_there in expected.presence(context.snapshot):
        if is_there is None and kind == "module":
            yield unknown(f"Unknown: whether the module {name} is present")
        elif is_there is False:
            yield Found(
                f"The {kind} {name} is missing, which the configuration expects.",
                "",
                {"kind": kind, "name": name},
                _bring_back(context, kind, name),
            )
    raise_worst(expected.unread(context.snapshot))


def _bring_back(context: Context, kind: str, name: str) -> tuple[Line, ...]:
    if kind == "module":
        return commands.load(kernel_modules(context.snapshot), [name])
    if kind == "interface":
        return (commands.LIST_INTERFACES, comment(f"create {name}, or bring it up"))
    return restore_rules(context)
