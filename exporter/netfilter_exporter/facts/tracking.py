"""Facts that prove whether packets are tracked."""

from __future__ import annotations

from collections.abc import Mapping

from netfilter_exporter.facts.conntrack import (
    conntrack_entries,
    conntrack_limit,
    conntrack_present,
)
from netfilter_exporter.facts.modules import kernel_modules, netfilter
from netfilter_exporter.facts.rulesets import rulesets
from netfilter_exporter.facts.snapshot import Snapshot, source
from netfilter_exporter.facts.sysctls import sysctls
from netfilter_exporter.kernel.conntrack import hooks as hook_lists
from netfilter_exporter.kernel.conntrack import probe
from netfilter_exporter.kernel.errors import Inconclusive, NoData, ReadError, Unsupported
from netfilter_exporter.kernel.modules.model import WITHOUT_HALVES
from netfilter_exporter.kernel.sysctl.names import CONNTRACK
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.model import Action

_SWITCH = CONNTRACK + "enable"  #: of some vendors' kernels
UDP_TIMEOUT = CONNTRACK + "udp_timeout"


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


@source(52)
def implied_ipv4(snapshot: Snapshot) -> bool:
    """Whether a rule that is loaded implies that IPv4 packets are tracked: True, or it raises."""
    return _imply(snapshot, Family.IPV4)


@source(54)
def implied_ipv6(snapshot: Snapshot) -> bool:
    """Whether a rule that is loaded implies that IPv6 packets are tracked: True, or it raises."""
    return _imply(snapshot, Family.IPV6)


def tracks(snapshot: Snapshot, family: Family) -> bool:
    """Return whether packets of `family` are tracked; raises `ReadError` where it is not proven.

    Nothing is sent where there is nothing to find, nor where the hooks can be listed. Where
    they cannot, or it is unknown whether the request loads a module, a datagram is. Only where
    neither gives an answer, rules can imply that packets are tracked.
    """
    if not conntrack_present(snapshot) or exempts_all(snapshot, family):
        return False
    try:
        return _proves(snapshot, family)
    except (Inconclusive, NoData, Unsupported):
        if _is_implied(snapshot, family):
            return True
        raise


def is_only_implied(snapshot: Snapshot, family: Family) -> bool:
    """Return whether nothing but rules shows that packets of `family` are tracked."""
    if not conntrack_present(snapshot) or exempts_all(snapshot, family):
        return False
    try:
        _proves(snapshot, family)
    except (Inconclusive, NoData, Unsupported):
        return _is_implied(snapshot, family)
    except ReadError:
        return False
    return False


def _is_implied(snapshot: Snapshot, family: Family) -> bool:
    try:
        return implied_ipv4(snapshot) if family is Family.IPV4 else implied_ipv6(snapshot)
    except ReadError:
        return False


def _proves(snapshot: Snapshot, family: Family) -> bool:
    try:
        return hooks(snapshot)[family]
    except (Inconclusive, NoData, Unsupported):
        return probe_ipv4(snapshot) if family is Family.IPV4 else probe_ipv6(snapshot)


def _imply(snapshot: Snapshot, family: Family) -> bool:
    """Return True where a translating rule holds the hooks of connection tracking.

    Making such a rule calls nf_ct_netns_get (net/netfilter/nf_conntrack_proto.c; nft_masq_init,
    nft_nat_init, xt_nat_checkentry and masquerade_tg_check), which registers the hooks of the
    family in the namespace until the rule is deleted. Where nf_conntrack_ipv4 is a module, it can
    be removed by force, and before 4.10 nothing was registered by rules.
    """
    found = [each.facts for each in rulesets(snapshot) if family in each.families]
    facts = [each for each in found if each is not None]
    if len(facts) < len(found):
        raise Inconclusive("not all rules could be read")
    if not any(each.rules[family, action] for each in facts for action in Action):
        raise NoData(f"{family.value}: no translating rule")
    if any(family in each.exempting for each in facts):
        raise Inconclusive(f"{family.value}: notrack or zone rules exempt packets")
    modules = kernel_modules(snapshot)
    if modules.known[f"nf_conntrack_{family.value}"].state not in WITHOUT_HALVES:
        raise Unsupported("rules do not imply tracking in this kernel")
    if modules.forced_unload or sysctls(snapshot).values.get(_SWITCH) == 0:
        raise Inconclusive("a module was removed by force, or tracking is disabled")
    return True


def exempts_all(snapshot: Snapshot, family: Family) -> bool:
    """Return whether a notrack rule without a match exempts all that is received."""
    return any(each.facts and family in each.facts.untracked for each in rulesets(snapshot))


def _probe(snapshot: Snapshot, family: Family) -> bool:
    limit = conntrack_limit(snapshot)
    if limit and conntrack_entries(snapshot) >= probe.FULL * limit:
        raise Inconclusive("the table is too full to add the entry of a probe")
    if sysctls(snapshot).values.get(UDP_TIMEOUT) == 0:
        raise Inconclusive("entries of UDP expire at once: nf_conntrack_udp_timeout is 0")
    connection = netfilter(snapshot, "nf_conntrack_netlink")
    pair = snapshot.system.loopback(family)
    try:
        blind = _untracks_loopback(snapshot, family)
        return probe.tracks(connection, pair, family, blind=blind)
    finally:
        pair.close()


def _untracks_loopback(snapshot: Snapshot, family: Family) -> bool:
    """Return whether a notrack or zone rule may touch loopback; unread rules may do anything."""
    found = [ruleset.facts for ruleset in rulesets(snapshot) if family in ruleset.families]
    return any(facts is None or family in facts.loopback_untracked for facts in found)
