"""Facts about what the NAT rules of this host are for."""

from __future__ import annotations

from collections.abc import Mapping

from netfilter_exporter.facts.forwarding import own_addresses
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.facts.rulesets import Ruleset, rulesets
from netfilter_exporter.facts.snapshot import Host, Snapshot, fact, kept
from netfilter_exporter.kernel.modules.model import PRESENT, ModuleState
from netfilter_exporter.rules import translations
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.model import Action
from netfilter_exporter.rules.reachability import RulesetFacts


@fact
def forwarded_rules(snapshot: Snapshot) -> Mapping[Family, int]:
    """Translating rules for forwarded traffic, of the rulesets that could be read."""
    found = [(each.families, each.facts.in_full) for each in rulesets(snapshot) if each.facts]
    conditional = any(in_full.forwarded_unless_own for _, in_full in found)
    own = own_addresses(snapshot) if conditional else {}
    return {
        family: sum(
            translations.forwarded(in_full, family, own)
            for families, in_full in found
            if family in families
        )
        for family in Family
    }


#: Of nf_conntrack_ipv4, in kernels before 4.19. Until 4.18 each backend had its own hooks: the
#: one that was asked first decided on every flow, translated or not (nf_nat_alloc_null_binding).
_IN_HALVES = PRESENT | {ModuleState.AVAILABLE}


class _LastOverlap:
    """The last answer of `translations.overlap`, which takes milliseconds, for each family."""

    def __init__(self) -> None:
        self._known: dict[Family, tuple[RulesetFacts, RulesetFacts, bool]] = {}

    def of(self, family: Family, one: RulesetFacts, other: RulesetFacts) -> bool:
        known = self._known.get(family)
        if known is None or known[0] is not one or known[1] is not other:
            found = translations.overlap(one.in_full, other.in_full, family)
            known = self._known[family] = one, other, found
        return known[2]


@kept
def _last_overlap(_: Host) -> _LastOverlap:
    return _LastOverlap()


@fact
def overlapping_backends(snapshot: Snapshot) -> Mapping[Family, bool]:
    """Whether a packet may match rules of both backends; a family that is unread is absent."""
    last = _last_overlap(snapshot.host)
    separate = kernel_modules(snapshot).known["nf_conntrack_ipv4"].state in _IN_HALVES
    found = {}
    for family in Family:
        one, other = (_facts(rulesets(snapshot), backend, family) for backend in Backend)
        if one is not None and other is not None:
            translate = all(_translates(facts, family) for facts in (one, other))
            found[family] = translate and (separate or last.of(family, one, other))
    return found


def _translates(facts: RulesetFacts, family: Family) -> bool:
    return any(facts.rules[family, action] for action in Action)


def _facts(found: tuple[Ruleset, ...], backend: Backend, family: Family) -> RulesetFacts | None:
    return next(r.facts for r in found if r.backend is backend and family in r.families)
