"""Whether the desired sysctls hold."""

from __future__ import annotations

from netfilter_exporter.facts.capabilities import capabilities_needed
from netfilter_exporter.facts.snapshot import Snapshot, fact
from netfilter_exporter.facts.sysctls import desired_sysctls, sysctls
from netfilter_exporter.kernel.sysctl import values


@fact
def sysctl_comparisons(snapshot: Snapshot) -> values.Comparisons:
    """The desired sysctls, and whether each holds."""
    desired = desired_sysctls(snapshot)

    def is_needed(capability: str) -> bool:
        # Where the rules could not be read, it is not known to be.
        return capabilities_needed(snapshot).get(capability) is True

    actual = sysctls(snapshot).values
    found = values.compare(snapshot.paths, desired.settings, actual, is_needed)
    return found._replace(errors=(*desired.errors, *found.errors))
