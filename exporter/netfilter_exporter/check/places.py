"""Where a rule or a chain is, for printed commands."""

from __future__ import annotations

from netfilter_exporter.check import commands, handles, iptables_commands, nft_commands
from netfilter_exporter.check.context import Context
from netfilter_exporter.rules.families import Backend, Family


def of(
    context: Context,
    backend: Backend,
    table: tuple[frozenset[Family], str],
    chain: str,
    position: int = 0,
) -> commands.Place:
    """Return a chain of a table, given by families and name, or the chain's rule at `position`."""
    families, name = table
    if backend is Backend.LEGACY:
        return iptables_commands.Target(families, name, chain, position)
    found = handles.read(context.snapshot, families, name, chain, position)
    return nft_commands.Target(families, name, chain, found)
