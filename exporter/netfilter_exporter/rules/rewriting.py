"""Stateless NAT: rules that write addresses into packets, without connection tracking."""

from __future__ import annotations

from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.model import Table


def rewritten(table: Table) -> frozenset[Family]:
    """Return the families of which a rule that forwarded packets may come to writes addresses."""
    if not any(rule.rewrites for rules in table.lists() for rule in rules):
        return frozenset()
    bases = (name for name, chain in table.chains.items() if chain.sees_forwarded)
    return frozenset(
        family
        for chain in table.behind(bases)
        for rule in table.rules(chain)
        if rule.rewrites
        for family in rule.families & table.families
    )
