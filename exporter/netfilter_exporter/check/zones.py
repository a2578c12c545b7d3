"""Checks of conntrack zones: connections whose replies are looked up elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from netfilter_exporter.check import commands, places
from netfilter_exporter.check.context import FAMILY, Context
from netfilter_exporter.check.findings import Found
from netfilter_exporter.check.rules import every_ruleset_read
from netfilter_exporter.check.shell import comment
from netfilter_exporter.facts.zones import split_zones


def nat_zone_split(context: Context) -> Iterator[Found]:
    """A zone is given to one end of translated connections alone."""
    for split in split_zones(context.snapshot):
        if context.unwanted(split.family):
            continue
        other = split.egress if split.zoned == split.interface else split.interface
        table = split.families, split.table
        place = places.of(context, split.backend, table, split.chain, split.position)
        where = commands.where(split.backend, split.families, split.table)
        yield Found(
            f"{FAMILY[split.family]}: rule {split.position} of chain {split.chain} ({where}) puts"
            f" what arrives at {split.zoned} into a conntrack zone, and no rule puts what arrives"
            f" at {other} into one.",
            "The kernel looks up replies in the zone of the interface where they arrive. It"
            " does not find them there, so it does not translate their addresses back.",
            {
                "family": split.family.value,
                "interface": split.interface,
                "egress": split.egress,
                "table": split.table,
                "chain": split.chain,
                "rule": split.position,
            },
            (
                *place.list_rules(),
                comment(f"set the same zone for {other}, or set it for one direction only"),
                comment("(nft: ct original zone set, iptables: -j CT --zone-orig)"),
            ),
        )
    every_ruleset_read(context)
