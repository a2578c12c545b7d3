"""Whether what the configuration says must exist does exist."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from netfilter_exporter.config.model import ExpectedRule
from netfilter_exporter.facts.forwarding import interfaces
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.facts.rulesets import rulesets
from netfilter_exporter.facts.snapshot import Snapshot
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.rules.reachability import Translation

#: Kind, name, and whether it is present; None if unknown.
Presence = tuple[str, str, "bool | None"]


def presence(snapshot: Snapshot) -> Iterator[Presence]:
    """Yield each interface, rule and module that must exist."""
    expect = snapshot.host.config.expect
    for interface in expect.interfaces:
        yield "interface", interface, interface in interfaces(snapshot)
    for rule in expect.rules:
        yield "rule", rule.name, _rule_is_there(snapshot, rule)
    for module in expect.modules:
        yield "module", module, kernel_modules(snapshot).usable(module)


def unread(snapshot: Snapshot) -> list[ReadError]:
    """Return why rulesets, in which an expected rule may be, could not be read."""
    if not snapshot.host.config.expect.rules:
        return []
    return [ruleset.error for ruleset in rulesets(snapshot) if ruleset.error is not None]


def _rule_is_there(snapshot: Snapshot, rule: ExpectedRule) -> bool | None:
    candidates = [
        ruleset
        for ruleset in rulesets(snapshot)
        if rule.family in ruleset.families and rule.backend in {None, ruleset.backend}
    ]
    for ruleset in candidates:
        translations = ruleset.facts.translations if ruleset.facts else {}
        if any(fits(rule, found, chains) for found, chains in translations.items()):
            return True
    return None if any(ruleset.facts is None for ruleset in candidates) else False


def fits(rule: ExpectedRule, found: Translation, chains: Collection[str]) -> bool:
    """Return whether a kind of rule, in one of `chains`, is what the configuration names."""
    return (
        rule.action is found.action
        and rule.family in found.families
        and rule.table in {None, found.table}
        and (rule.chain is None or rule.chain in chains)
        and (rule.interface is None or rule.interface in found.interfaces)
    )
