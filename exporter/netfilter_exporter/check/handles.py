"""The handles of an nftables rule and of what holds it; read only where they are printed."""

from __future__ import annotations

from netfilter_exporter.check.nft_commands import Handles
from netfilter_exporter.facts.modules import netfilter
from netfilter_exporter.facts.rulesets import nftables
from netfilter_exporter.facts.snapshot import Snapshot
from netfilter_exporter.kernel import names
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.nft.handles import read_chain_handles, read_handles
from netfilter_exporter.kernel.nft.maps import TableKey
from netfilter_exporter.kernel.nft.tables import read_generation
from netfilter_exporter.rules.families import NFPROTO_OF, Family


def read(
    snapshot: Snapshot, families: frozenset[Family], table: str, chain: str, position: int
) -> Handles:
    """Return the handles of the rule at `position`, which counts from 1; 0 stands for none.

    All are 0 where the ruleset has changed since it was read.
    """
    key = NFPROTO_OF[families], table
    try:
        generation = nftables(snapshot).generation
        connection = netfilter(snapshot, "nf_tables")
        rule = _of_rule(connection, key, chain, position) if position else 0
        # nft is given the names of the others, unless it cannot be.
        known = names.is_text(table) and names.is_text(chain)
        found = (0, 0) if known else read_chain_handles(connection, key, chain)
        if read_generation(connection) != generation:
            return Handles()
    except ReadError:
        return Handles()
    return Handles(*found, rule)


def _of_rule(connection: Connection, table: TableKey, chain: str, position: int) -> int:
    found = read_handles(connection, table, chain)
    return found[position - 1] if position <= len(found) else 0
