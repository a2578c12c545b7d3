"""The alerts, each with the check that decides on the spot whether it fires."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable, NamedTuple

from netfilter_exporter.check import (
    exporter,
    flows,
    forwarding,
    helpers,
    hidden,
    matching,
    modules,
    namespaces,
    passage,
    rules,
    sysctls,
    table,
    tracking,
    zones,
)
from netfilter_exporter.check.context import Context
from netfilter_exporter.check.findings import Found, Severity

_CRITICAL, _WARNING, _INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO

Check = Callable[[Context], Iterator[Found]]


class Alert(NamedTuple):
    """An alert by its exact name, and its severities, the usual one first."""

    name: str
    severities: tuple[Severity, ...]
    check: Check | None = None  #: None: it is decided by history alone
    of_namespaces: bool = False  #: about other network namespaces, which are checked on request


ALERTS = (
    Alert("NetfilterConntrackDisabled", (_CRITICAL,), tracking.conntrack_disabled),
    Alert("NetfilterConntrackStopped", (_WARNING,)),
    Alert("NetfilterNatRulesGone", (_CRITICAL, _WARNING), tracking.nat_rules_gone),
    Alert("NetfilterNatRulesLost", (_WARNING,)),
    Alert("NetfilterNatTableGone", (_WARNING,)),
    Alert("NetfilterNatForwardingDisabled", (_CRITICAL,), forwarding.nat_forwarding_disabled),
    Alert("NetfilterNatInterfaceForwardingDisabled", (_WARNING,)),
    Alert("NetfilterNatRulesUnreachable", (_WARNING,), hidden.nat_rules_unreachable),
    Alert("NetfilterNatInterfaceMissing", (_WARNING,), rules.nat_interface_missing),
    Alert("NetfilterNatRuleUnmatchable", (_WARNING, _INFO), matching.nat_rule_unmatchable),
    Alert("NetfilterNatEgressUncovered", (_WARNING,), matching.nat_egress_uncovered),
    Alert("NetfilterNatZoneSplit", (_WARNING,), zones.nat_zone_split),
    Alert("NetfilterNatHelperUnassigned", (_INFO,), helpers.nat_helper_unassigned),
    Alert("NetfilterNatBackendsMixed", (_WARNING, _INFO), rules.nat_backends_mixed),
    Alert("NetfilterForwardBlocked", (_WARNING,), passage.forward_blocked),
    Alert("NetfilterNatTrafficDropped", (_WARNING,)),
    Alert("NetfilterNatPortsExhausted", (_WARNING, _CRITICAL)),
    Alert("NetfilterNatPortsFilling", (_WARNING, _CRITICAL), flows.nat_ports_filling),
    Alert("NetfilterNatUntranslated", (_CRITICAL,), flows.nat_untranslated),
    Alert("NetfilterNatIdle", (_CRITICAL, _WARNING)),
    Alert("NetfilterNatUnanswered", (_WARNING,), flows.nat_unanswered),
    Alert("NetfilterNotrackRules", (_INFO,), rules.notrack_rules),
    Alert("NetfilterConntrackTableFilling", (_WARNING, _CRITICAL), table.conntrack_table_filling),
    Alert("NetfilterConntrackTableWillFill", (_WARNING,)),
    Alert("NetfilterConntrackDropping", (_CRITICAL,), table.conntrack_dropping),
    Alert("NetfilterConntrackEvicting", (_WARNING,), table.conntrack_evicting),
    Alert("NetfilterConntrackInsertFailing", (_WARNING,), table.conntrack_insert_failing),
    Alert("NetfilterConntrackInvalidPackets", (_INFO,), table.conntrack_invalid_packets),
    Alert("NetfilterConntrackUnlimited", (_WARNING,), table.conntrack_unlimited),
    Alert("NetfilterConntrackHashTooSmall", (_WARNING,), table.conntrack_hash_too_small),
    Alert(
        "NetfilterNetnsTableFilling", (_WARNING, _CRITICAL), namespaces.netns_table_filling, True
    ),
    Alert("NetfilterNetnsDropping", (_CRITICAL,), namespaces.netns_dropping, True),
    Alert("NetfilterNetnsNatRulesGone", (_CRITICAL, _WARNING), None, True),
    Alert("NetfilterConntrackNetlinkMissing", (_INFO,), tracking.conntrack_netlink_missing),
    Alert("NetfilterConntrackModuleMissing", (_CRITICAL,), modules.conntrack_module_missing),
    Alert("NetfilterModulesDirectoryMissing", (_WARNING,), modules.modules_directory_missing),
    Alert("NetfilterModulesLocked", (_WARNING,), modules.modules_locked),
    Alert("NetfilterModuleBlocked", (_WARNING,), modules.module_blocked),
    Alert("NetfilterModuleForcedUnload", (_WARNING,), tracking.module_forced_unload),
    Alert("NetfilterSysctlNotApplied", (_WARNING,), sysctls.sysctl_not_applied),
    Alert("NetfilterSysctlUnknown", (_WARNING,), sysctls.sysctl_unknown),
    Alert("NetfilterBridgeNatBypassed", (_WARNING,)),
    Alert("NetfilterIpvsUntracked", (_INFO, _WARNING), sysctls.ipvs_untracked),
    Alert(
        "NetfilterRouterAdvertisementsIgnored",
        (_WARNING,),
        sysctls.router_advertisements_ignored,
    ),
    Alert("NetfilterReversePathFiltered", (_WARNING,)),
    Alert("NetfilterExpectedMissing", (_WARNING,), rules.expected_missing),
    Alert("NetfilterExporterDown", (_WARNING,)),
    Alert("NetfilterCollectorFailing", (_WARNING, _INFO), exporter.collector_failing),
    Alert("NetfilterWrongNamespace", (_WARNING,), exporter.wrong_namespace),
    Alert("NetfilterConfigReloadFailing", (_WARNING,), exporter.config_reload_failing),
    Alert("NetfilterTextfileStale", (_WARNING,)),
)
