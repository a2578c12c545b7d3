"""The ports that rules leave to translated sources."""

from __future__ import annotations

from collections.abc import Iterable

from netfilter_exporter.rules.detail import NatTarget
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.translations import TranslationFacts

#: Without a range in the rule: of sources from port 1024 on. Those below keep to two ranges of
#: their own: nf_nat_l4proto_unique_tuple in net/netfilter/nf_nat_core.c (v6.18).
UNRESTRICTED = (1024, 65535)


def ports_of(
    rulesets: Iterable[TranslationFacts], family: Family, protocol: int, address: int
) -> tuple[int, int] | None:
    """Return the first and last port that rules leave to a translated source address.

    None where no rule translates to it, and where rules differ or cannot be read in full.
    """
    named: set[NatTarget] = set()
    others: set[NatTarget] = set()
    for facts in rulesets:
        targets = facts.sources.get(family, set())
        if targets is None:
            return None
        for target, protocols in targets:
            if not any(first <= protocol <= last for first, last in protocols):
                continue
            if target.map or not target.known:
                return None
            if target.addresses is None:
                others.add(target)
            elif target.addresses[0] <= address <= target.addresses[1]:
                named.add(target)
    found = {target.ports or UNRESTRICTED for target in named or others}
    return found.pop() if len(found) == 1 else None
