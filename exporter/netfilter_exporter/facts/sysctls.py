"""Facts about sysctls: their values, and whether the desired ones hold."""

from __future__ import annotations

from netfilter_exporter.facts.capabilities import capabilities_needed
from netfilter_exporter.facts.files import int_reader
from netfilter_exporter.facts.snapshot import Host, Snapshot, fact, kept
from netfilter_exporter.kernel.sysctl import values
from netfilter_exporter.kernel.sysctl.sysctl_d import SysctlD


@kept
def _sysctl_d(host: Host) -> SysctlD:
    return SysctlD(host.system.paths)


@fact
def sysctls(snapshot: Snapshot) -> values.Reading:
    """Values of connection tracking's and forwarding's sysctls."""
    return values.read_sysctls(snapshot.paths, int_reader(snapshot.host).read)


@fact
def sysctl_comparisons(snapshot: Snapshot) -> values.Comparisons:
    """What sysctl.d and the configuration ask for, and whether it holds."""
    options = _sysctl_d(snapshot.host).read()
    actual = sysctls(snapshot).values
    desired = (*values.from_sysctl_d(options, actual), *snapshot.host.config.sysctls)

    def is_needed(capability: str) -> bool:
        # Where the rules could not be read, it is not known to be.
        return capabilities_needed(snapshot).get(capability) is True

    found = values.compare(snapshot.paths, desired, actual, is_needed)
    return found._replace(errors=(*options.errors, *found.errors))
