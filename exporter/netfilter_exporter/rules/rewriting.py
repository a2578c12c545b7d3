"""Stateless NAT: rules that write addresses into packets, without connection tracking."""

from __future__ import annotations

from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.model import Table


def rewritten(table: Table) -> frozenset[Family]:
    """Return the families of which a rule that forwarded packets may come to writes addresses."""
    if not any(rule.rewrites for rules in table.lists() for rule in rules):
        return frozenset()
    found: frozenset[Family] = frozenset()
    pending = [name for name, chain in table.chains.items() if chain.sees_forwarded]
    reached = set(pending)
    while pending:
        for rule in table.rules(pending.pop()):
            if rule.rewrites:
                found |= rule.families & table.families
            leads = {*rule.targets, *(t for name in rule.maps for t in table.maps.get(name, ()))}
            pending += leads - reached
            reached |= leads
    return found
