"""The handle of one nftables rule, by which nft deletes it; asked for only where it is printed."""

from __future__ import annotations

from netfilter_exporter.facts.modules import netfilter
from netfilter_exporter.facts.rulesets import nftables
from netfilter_exporter.facts.snapshot import Snapshot
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.nft import tables
from netfilter_exporter.rules.families import FAMILIES_OF, Family
from netfilter_exporter.rules.shadows import ShadowingRule


def read(
    snapshot: Snapshot, families: frozenset[Family], table: str, shadowing_rule: ShadowingRule
) -> int | None:
    """Return the handle of a rule; None where the ruleset has changed since it was found."""
    protocols = {of: number for number, of in FAMILIES_OF.items()}
    try:
        generation = nftables(snapshot).generation
        connection = netfilter(snapshot, "nf_tables")
        found = tables.read_handles(connection, (protocols[families], table), shadowing_rule.chain)
        if tables.read_generation(connection) != generation:
            return None
    except ReadError:
        return None
    return found[shadowing_rule.position - 1] if shadowing_rule.position <= len(found) else None
