"""Facts about bridges: whether what they forward meets the rules of this host."""

from __future__ import annotations

from collections.abc import Mapping

from netfilter_exporter.facts.forwarding import interfaces
from netfilter_exporter.facts.snapshot import Host, Snapshot, fact, kept
from netfilter_exporter.facts.sysctls import sysctls
from netfilter_exporter.kernel import bridges as of_kernel
from netfilter_exporter.kernel.bridges import Bridge
from netfilter_exporter.rules.families import Family


@kept
def _known(_: Host) -> dict[tuple[str, int], bool]:
    """Whether each interface, by name and index, is a bridge: it stays what it is."""
    return {}


@fact
def bridges(snapshot: Snapshot) -> tuple[Bridge, ...]:
    """The bridges of this namespace that have two ports or more."""
    known = _known(snapshot.host)
    present = interfaces(snapshot).items()
    for gone in known.keys() - present:
        del known[gone]
    for each in present - known.keys():
        known[each] = of_kernel.is_bridge(snapshot.paths, each[0])
    names = sorted(name for (name, _), is_bridge in known.items() if is_bridge)
    return of_kernel.read_bridges(snapshot.paths, names)


@fact
def bridge_netfilter(snapshot: Snapshot) -> Mapping[Family, bool]:
    """Whether all bridges hand what they forward to the hooks of each family."""
    values = sysctls(snapshot).values
    return {family: values.get(key) == 1 for family, key in of_kernel.SYSCTLS.items()}


@fact
def bypassing_bridges(snapshot: Snapshot) -> Mapping[Family, int]:
    """How many bridges forward without asking the rules of each family."""
    return {
        family: 0 if enabled else sum(family not in each.calls for each in bridges(snapshot))
        for family, enabled in bridge_netfilter(snapshot).items()
    }
