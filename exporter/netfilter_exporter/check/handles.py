"""The handle of one nftables rule, by which nft deletes it; asked for only where it is printed."""

from __future__ import annotations

from netfilter_exporter.kernel import nftables
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.families import FAMILIES_OF, Family
from netfilter_exporter.kernel.shadows import Hider
from netfilter_exporter.snapshot import Snapshot


def read(snapshot: Snapshot, families: frozenset[Family], table: str, hider: Hider) -> int | None:
    """Return the handle of a rule; None where the ruleset has changed since it was found."""
    protocols = {of: number for number, of in FAMILIES_OF.items()}
    try:
        generation = snapshot.nftables.generation
        connection = snapshot.netfilter("nf_tables")
        found = nftables.read_handles(connection, (protocols[families], table), hider.chain)
        if nftables.read_generation(connection) != generation:
            return None
    except ReadError:
        return None
    return found[hider.position - 1] if hider.position <= len(found) else None
