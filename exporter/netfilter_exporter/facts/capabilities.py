"""Facts about what the kernel can do, and what of it this host needs."""

from __future__ import annotations

from collections.abc import Mapping

from netfilter_exporter.config.model import Role
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.facts.rulesets import rulesets
from netfilter_exporter.facts.snapshot import Snapshot, fact
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
    """Whether a rule of this host, or the configured role, needs each capability."""
    found = [(ruleset.backend, ruleset.facts) for ruleset in rulesets(snapshot)]
    roles = snapshot.host.config.nat
    return needs.needed(found, [f for f in Family if roles.role(f) is Role.REQUIRED])
