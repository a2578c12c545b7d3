"""The rules of one nftables table that packets can come to, read chain after chain.

A dump of a table starts again at its first rule for each datagram, so its cost grows with the
square of the rules: nf_tables_dump_rules() in net/netfilter/nf_tables_api.c (v6.18). A dump of one
chain finds that by its name, and costs a request.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Callable

from netfilter_exporter.kernel.nft.maps import MapReading, TableKey
from netfilter_exporter.kernel.nft.rules import RuleReader, TableRules
from netfilter_exporter.rules.model import Chain

#: Rules and references of chains from which a table is read so. Measured on 6.18: with kube-proxy's
#: 30 000 rules, which are 52 000 of them, both ways cost the same.
MANY = 50_000
#: Chains between two questions whether asking still loads nothing: some 10 ms.
_ASKED = 256


def read_reached(
    reader: RuleReader,
    table: TableKey,
    bases: Mapping[str, Chain],
    maps: MapReading,
    gate: Callable[[], None],
) -> TableRules:
    """Return base chains and what they lead to; `gate` raises where asking may load a module."""
    reached = TableRules(dict(bases), [])
    known, pending = set(bases), list(bases)
    for number in itertools.count(1):
        if not pending:
            break
        if number % _ASKED == 0:
            gate()
        name = pending.pop()
        found = reader.read(table, {name: bases[name]} if name in bases else {}, name)
        if found.chains.keys() - {name}:  # this kernel has no filter
            return reader.read(table, bases)
        reached.chains.update(found.chains)
        reached.uses.extend(found.uses)
        new = _targets(found.chains.values()).union(maps.follow(found.uses)) - known
        known |= new
        pending += sorted(new)
    return reached


def _targets(chains: Iterable[Chain]) -> set[str]:
    return {target for chain in chains for rule in chain.rules for target in rule.targets}
