"""Facts about sysctls: their values, and the desired ones."""

from __future__ import annotations

from typing import NamedTuple

from netfilter_exporter.facts.snapshot import Host, Snapshot, fact, kept
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.sysctl import values
from netfilter_exporter.kernel.sysctl.names import Desired
from netfilter_exporter.kernel.sysctl.sysctl_d import SysctlD


@kept
def _sysctl_d(host: Host) -> SysctlD:
    return SysctlD(host.system.paths)


@fact
def sysctls(snapshot: Snapshot) -> values.Reading:
    """Values of connection tracking's and forwarding's sysctls."""
    return values.read_sysctls(snapshot.paths)


class DesiredSysctls(NamedTuple):
    """The desired sysctls, and what of sysctl.d could not be read."""

    settings: tuple[Desired, ...]
    errors: tuple[ReadError, ...]


@fact
def desired_sysctls(snapshot: Snapshot) -> DesiredSysctls:
    """The sysctls that sysctl.d and the configuration set."""
    options = _sysctl_d(snapshot.host).read()
    of_host = values.from_sysctl_d(options, sysctls(snapshot).values)
    return DesiredSysctls((*of_host, *snapshot.host.config.sysctls), options.errors)
