"""Which capabilities the rules of this host, and its role, cannot do without."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from netfilter_exporter.kernel.modules.capabilities import CAPABILITIES
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.model import Action
from netfilter_exporter.rules.reachability import RulesetFacts

#: A rule that the host must have: its family, what it does, and where it is, if that is known.
Expected = tuple[Family, Action, "Backend | None"]
Sets = tuple[frozenset[str], ...]

#: What translates the source of forwarded traffic: a host that must NAT has one of these.
_OF_ROLE = (Action.MASQUERADE, Action.SNAT)


def needed(
    rulesets: Iterable[tuple[Backend, RulesetFacts | None]],
    required: Collection[Family],
    expected: Iterable[Expected] = (),
    possible: Mapping[str, bool | None] | None = None,
) -> dict[str, bool | None]:
    """Return whether each capability is needed; None where a ruleset is unread and may need it.

    `required` are the families in which the host must NAT. Where a rule can be written in more
    than one way, each way is needed only if `possible` says that no other can be had.
    """
    found = set()
    for family in required:
        found |= _by_role(family, _OF_ROLE, None, possible or {})
    for family, action, backend in expected:
        found |= _by_role(family, (action,), backend, possible or {})
    unread = False
    for backend, facts in rulesets:
        if facts is None:
            unread = True
        else:
            found.update(_by_rules(backend, facts))
    return {name: True if name in found else None if unread else False for name in CAPABILITIES}


def _by_family(family: Family) -> tuple[str, ...]:
    return "conntrack", "nat", f"defrag_{family.value}"


def _by_role(
    family: Family,
    actions: Iterable[Action],
    backend: Backend | None,
    possible: Mapping[str, bool | None],
) -> set[str]:
    ways = tuple(way for action in actions for way in _ways(family, action, backend))
    hopeless = all(any(possible.get(name) is False for name in way) for way in ways)
    return {*_by_family(family), *(frozenset().union(*ways) if hopeless else ())}


def _ways(family: Family, action: Action, backend: Backend | None) -> Sets:
    """Return what each way of writing a rule needs."""
    nftables = (
        frozenset({"nat_nftables", f"{action.value}_nftables"}),
        frozenset({"nat_nftables", "targets_nftables", f"{action.value}_legacy"}),
    )
    legacy = (frozenset({f"nat_legacy_{family.value}", f"{action.value}_legacy"}),)
    if backend is None:
        return nftables + legacy
    return nftables if backend is Backend.NFTABLES else legacy


def _by_rules(backend: Backend, facts: RulesetFacts) -> Iterator[str]:
    nftables = backend is Backend.NFTABLES
    for found in facts.translations:
        expression = nftables and not found.extension
        for family in found.families:
            yield from _by_family(family)
            yield "nat_nftables" if nftables else f"nat_legacy_{family.value}"
            yield f"{found.action.value}_{'nftables' if expression else 'legacy'}"
            if nftables and not expression:
                yield "targets_nftables"
