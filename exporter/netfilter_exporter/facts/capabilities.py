"""Facts about what the kernel can do, and what of it this host needs."""

from __future__ import annotations

from collections.abc import Mapping

from netfilter_exporter.config.model import Role
from netfilter_exporter.facts.bridges import bridges
from netfilter_exporter.facts.engines import stateless_nat
from netfilter_exporter.facts.forwarding import interfaces
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.facts.rulesets import rulesets
from netfilter_exporter.facts.snapshot import Snapshot, fact
from netfilter_exporter.facts.sysctls import desired_sysctls
from netfilter_exporter.kernel.bridges import SYSCTLS
from netfilter_exporter.kernel.modules import capabilities as of_modules
from netfilter_exporter.kernel.modules import needs
from netfilter_exporter.rules.families import Family


@fact
def capabilities(snapshot: Snapshot) -> Mapping[str, bool | None]:
    """Whether each capability is usable now or loadable on demand; None: unknown."""
    return of_modules.evaluate(kernel_modules(snapshot))


@fact
def capabilities_blocked(snapshot: Snapshot) -> Mapping[str, bool]:
    """Whether modprobe.d or the kernel command line stops a module of each capability."""
    return of_modules.blocked(kernel_modules(snapshot), capabilities(snapshot))


@fact
def capabilities_needed(snapshot: Snapshot) -> Mapping[str, bool | None]:
    """Whether a rule of this host, or the configuration, needs each capability."""
    found = [(ruleset.backend, ruleset.facts) for ruleset in rulesets(snapshot)]
    config = snapshot.host.config
    required = [
        family
        for family in Family
        if config.nat.role(family) is Role.REQUIRED and family not in stateless_nat(snapshot)
    ]
    expected = [(rule.family, rule.action, rule.backend) for rule in config.expect.rules]
    needed = needs.needed(found, required, expected, capabilities(snapshot))
    translates = needed["nat"]
    return {
        **needed,
        "bridge_netfilter": translates and _bridges_are_desired(snapshot),
        "ipvs": "ip_vs" in config.expect.modules or _KUBE_PROXY in interfaces(snapshot),
    }


#: The interface that kube-proxy gives the addresses of services to, where it uses IPVS.
_KUBE_PROXY = "kube-ipvs0"


def _bridges_are_desired(snapshot: Snapshot) -> bool:
    """Return whether bridged packets are desired to pass the rules, and bridges exist."""
    desired = {each.key for each in desired_sysctls(snapshot).settings if each.value > 0}
    return not desired.isdisjoint(SYSCTLS.values()) and bool(bridges(snapshot))


@fact
def capability_obstacles(snapshot: Snapshot) -> Mapping[str, tuple[of_modules.Obstacle, ...]]:
    """What stands in the way of each capability that is proven to be impossible."""
    modules = kernel_modules(snapshot)
    found = {name: of_modules.obstacles(modules, name) for name in of_modules.CAPABILITIES}
    return {name: reasons for name, reasons in found.items() if reasons}
