"""Which capabilities the rules of this host, and its role, cannot do without."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from netfilter_exporter.kernel.modules.capabilities import CAPABILITIES
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.model import Action
from netfilter_exporter.rules.reachability import RulesetFacts


def needed(
    rulesets: Iterable[tuple[Backend, RulesetFacts | None]], required: Collection[Family]
) -> dict[str, bool | None]:
    """Return whether each capability is needed; None where a ruleset is unread and may need it."""
    found = {name for family in required for name in _by_family(family)}
    unread = False
    for backend, facts in rulesets:
        if facts is None:
            unread = True
        else:
            found.update(_by_rules(backend, facts))
    return {name: True if name in found else None if unread else False for name in CAPABILITIES}


def _by_family(family: Family) -> tuple[str, ...]:
    return "conntrack", "nat", f"defrag_{family.value}"


def _by_rules(backend: Backend, facts: RulesetFacts) -> Iterator[str]:
    for found in facts.translations:
        for family in found.families:
            yield from _by_family(family)
            yield "nat_nftables" if backend is Backend.NFTABLES else f"nat_legacy_{family.value}"
            if found.action is Action.MASQUERADE:
                yield "masquerade_legacy" if found.extension else "masquerade_nftables"
