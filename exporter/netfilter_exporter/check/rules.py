"""Checks of rules that are present and have no effect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from netfilter_exporter.check import commands, iptables_commands
from netfilter_exporter.check.context import FAMILY, Context
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
from netfilter_exporter.rules.model import INDEX, is_among


def every_ruleset_read(context: Context) -> None:
    """Raise why a ruleset could not be read: what is not found may be in it."""
    raise_worst([error for family in Family if (error := context.unread(family))])


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
            f"NAT rules name the interface {interface}, which is absent.",
            "They match nothing. Was the interface renamed, or is a tunnel down?",
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
        f"NAT rules name interface number {index}, which is absent.",
        "iif and oif keep the number of the interface when the rule was loaded. The interface"
        " was created again with another number, and the rules match nothing.",
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
    "A packet may match rules of both at the same hook. The backend that was registered last"
    " decides, so the result may change with the next boot."
)
_DISJOINT = "No packet matches rules of both at the same hook: they do not interfere."


# -- NetfilterNotrackRules ---------------------------------------------------------------------


def notrack_rules(context: Context) -> Iterator[Found]:
    """Rules that exempt packets from tracking, next to rules that need it."""
    for ruleset in context.rulesets:
        for family in Family:
            exempting = ruleset.facts.notrack[family]
            if not exempting or not context.rules(family):
                continue
            name = FAMILY[family]
            yield Found(
                f"{name}: {count(exempting, 'notrack rule')} in {ruleset.backend.value}, next to"
                f" {count(context.rules(family), 'NAT rule')}.",
                "Packets that they match are not tracked, and so not translated.",
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
