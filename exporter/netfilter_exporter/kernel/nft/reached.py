"""The rules of one nftables table that packets can come to, read chain after chain.

A dump of a table starts again at its first rule for each datagram, so its cost grows with the
square of the rules: nf_tables_dump_rules() in net/netfilter/nf_tables_api.c (v6.18). A dump of one
chain finds that by its name, and costs a request.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Callable

from netfilter_exporter.kernel.nft.maps import MapReading, ParsedChain, TableKey
from netfilter_exporter.kernel.nft.rules import RuleReader, TableRules
from netfilter_exporter.rules.model import Chain

#: Rules and references of chains from which a table is read so. Measured on 6.18: with kube-proxy's
#: 30 000 rules, which are 52 000 of them, both ways cost the same.
MANY = 50_000
#: Chains between two questions whether asking still loads nothing: some 10 ms.
_ASKED = 256


class ChainReader:
    """Reads chains, each again only when it looks different: for a ruleset that never rests.

    A chain looks the same while its handle is, and the number of its rules and of what leads to it.
    """

    def __init__(self, reader: RuleReader) -> None:
        self.names = reader.names
        self._reader = reader
        self._looks: dict[tuple[TableKey, str], tuple[bytes, bytes]] = {}
        self._known: dict[tuple[TableKey, str], tuple[tuple[bytes, bytes] | None, TableRules]] = {}

    def look(self, listed: Iterable[ParsedChain]) -> None:
        """Take in how all chains look now."""
        self._looks = {(table, name): (handle, use) for table, handle, name, use, _ in listed}

    def read(
        self, table: TableKey, bases: Mapping[str, Chain], chain: str | None = None
    ) -> TableRules:
        """Return the rules of a table, or of one of its chains; see `RuleReader`."""
        if chain is None:
            return self._reader.read(table, bases)
        looks, known = self._looks.get((table, chain)), self._known.get((table, chain))
        if known is None or known[0] != looks:
            known = looks, self._reader.read(table, bases, chain)
            self._known[table, chain] = known
        chains, uses = known[1]
        for name, base in bases.items():  # its policy may be another
            chains[name] = base._replace(rules=chains[name].rules, values=chains[name].values)
        return TableRules(chains, uses)


def read_reached(
    reader: RuleReader | ChainReader,
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
        chain = found.chains.get(name)
        if len(found.chains) > (chain is not None):  # this kernel has no filter
            whole = reader.read(table, bases)
            maps.follow(whole.uses)
            return whole
        if chain is None:
            continue
        reached.chains[name] = chain
        reached.uses.extend(found.uses)
        leads = [rule.targets for rule in chain.rules if rule.targets]
        for target in itertools.chain(maps.follow(found.uses), *leads):
            if target not in known:
                known.add(target)
                pending.append(target)
    return reached
