"""NAT base chains that come before others of the same hook, and what they translate first.

The chains of a NAT hook are walked in the order of their priority until one has translated the
packet (nf_nat_inet_fn, net/netfilter/nf_nat_core.c, v6.18). Of equal priorities the order is that
of their registration, and nothing is concluded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from netfilter_exporter.rules.chain_ends import ChainEnds
from netfilter_exporter.rules.cover_index import Hider
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.match import Field
from netfilter_exporter.rules.model import Table
from netfilter_exporter.rules.termination import Termination

#: What other chains, at priorities in between, may change.
_CHANGING = frozenset({Field.MARK, Field.CT_MARK, Field.CT_STATUS, Field.OTHER})
_OF_FAMILY = frozenset({Field.FAMILY, Field.ETHERTYPE})

#: The translations that come before each base chain of a table.
Earlier = Mapping[str, Sequence[Hider]]


def find_earlier(tables: Collection[Table]) -> list[Earlier]:
    """Return for each table what other base chains of its NAT hooks translate first."""
    live = [
        (number, table, name)
        for number, table in enumerate(tables)
        for name, chain in table.chains.items()
        if chain.translates and not table.dormant
    ]
    found: list[dict[str, Sequence[Hider]]] = [{} for _ in tables]
    for number, table, name in live:
        chain = table.chains[name]
        before = sorted(
            (
                (other.chains[base].priority, at, base)
                for at, other, base in live
                if other.chains[base].hook is chain.hook
                and other.chains[base].priority < chain.priority
                and other.families & table.families
            ),
        )
        if before:
            of_table = list(tables)
            found[number][name] = [
                hider
                for _, at, base in before
                for hider in _translating(of_table[at], base, table.families)
            ]
    return list(found)


def _translating(table: Table, base: str, families: frozenset[Family]) -> Iterator[Hider]:
    """Yield what a base chain translates of packets of `families`, with its table named."""
    ends = ChainEnds(table, Termination(table), whole_hook=True)
    for hider in ends.translating(base):
        if hider.families & families and not hider.demands.depends_on(_CHANGING):
            ranges = {f: i for f, i in hider.demands.ranges.items() if f not in _OF_FAMILY}
            yield hider._replace(
                demands=hider.demands._replace(ranges=ranges),
                place=hider.place._replace(table=(table.families, table.name)),
            )
