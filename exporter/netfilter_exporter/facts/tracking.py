"""Facts that prove whether packets are tracked."""

from __future__ import annotations

from collections.abc import Mapping

from netfilter_exporter.facts.conntrack import (
    conntrack_entries,
    conntrack_limit,
    conntrack_present,
)
from netfilter_exporter.facts.modules import netfilter
from netfilter_exporter.facts.rulesets import rulesets
from netfilter_exporter.facts.snapshot import Snapshot, source
from netfilter_exporter.kernel.conntrack import hooks as hook_lists
from netfilter_exporter.kernel.conntrack import probe
from netfilter_exporter.kernel.errors import Inconclusive, NoData, Unsupported
from netfilter_exporter.rules.families import Family


@source(60)
def hooks(snapshot: Snapshot) -> Mapping[Family, bool]:
    """Whether received packets are tracked, by family, where hooks can be listed."""
    connection = netfilter(snapshot, "nfnetlink_hook")
    return {family: hook_lists.tracks(connection, family) for family in Family}


@source(40)
def probe_ipv4(snapshot: Snapshot) -> bool:
    """Whether an IPv4 datagram on loopback is tracked."""
    return _probe(snapshot, Family.IPV4)


@source(50)
def probe_ipv6(snapshot: Snapshot) -> bool:
    """Whether an IPv6 datagram on loopback is tracked."""
    return _probe(snapshot, Family.IPV6)


def tracks(snapshot: Snapshot, family: Family) -> bool:
    """Tell whether packets of `family` are tracked; raises `ReadError` where it is not proven.

    Nothing is sent where there is nothing to find, nor where the hooks can be listed. Where
    they cannot, or it is unknown whether asking for them loads a module, a datagram is.
    """
    if not conntrack_present(snapshot) or exempts_all(snapshot, family):
        return False
    try:
        return hooks(snapshot)[family]
    except (Inconclusive, NoData, Unsupported):
        return probe_ipv4(snapshot) if family is Family.IPV4 else probe_ipv6(snapshot)


def exempts_all(snapshot: Snapshot, family: Family) -> bool:
    """Tell whether a notrack rule without a match exempts all that is received."""
    return any(each.facts and family in each.facts.untracked for each in rulesets(snapshot))


def _probe(snapshot: Snapshot, family: Family) -> bool:
    limit = conntrack_limit(snapshot)
    if limit and conntrack_entries(snapshot) >= probe.FULL * limit:
        raise Inconclusive("the table is too full to add the entry of a probe")
    connection = netfilter(snapshot, "nf_conntrack_netlink")
    pair = snapshot.system.loopback(family)
    try:
        blind = _untracks_loopback(snapshot, family)
        return probe.tracks(connection, pair, family, blind=blind)
    finally:
        pair.close()


def _untracks_loopback(snapshot: Snapshot, family: Family) -> bool:
    """Tell whether a notrack or zone rule may touch loopback; unread rules may do anything."""
    found = [ruleset.facts for ruleset in rulesets(snapshot) if family in ruleset.families]
    return any(facts is None or family in facts.loopback_untracked for facts in found)
