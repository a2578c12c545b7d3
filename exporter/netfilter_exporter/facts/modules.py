"""Facts about kernel modules, and the gate of every netlink question."""

from __future__ import annotations

from netfilter_exporter.facts.snapshot import Host, Snapshot, fact, kept, kept_of_config
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.modules.model import Modules
from netfilter_exporter.kernel.modules.reader import ModuleReader
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER


@kept_of_config
def _reader(host: Host) -> ModuleReader:
    extra = (*host.config.modules.watch, *host.config.expect.modules)
    return ModuleReader(host.system.paths, extra)


@fact
def kernel_modules(snapshot: Snapshot) -> Modules:
    """The kernel modules of conntrack and NAT; its `may_ask` is the gate of every question."""
    return _reader(snapshot.host).read()


def netfilter(snapshot: Snapshot, module: str) -> Connection:
    """Return the netfilter connection if asking `module` loads nothing, else raise."""
    kernel_modules(snapshot).require(module)
    return snapshot.connection(NETLINK_NETFILTER)


class _FirstTaint:
    """Whether a module had been removed by force before the first scrape: that was survived."""

    forced: bool | None = None


@kept
def _first_taint(_: Host) -> _FirstTaint:
    return _FirstTaint()


@fact
def forced_unload(snapshot: Snapshot) -> bool:
    """Whether a module was removed by force since the first scrape."""
    try:
        return forced_since_start(snapshot.host, forced=kernel_modules(snapshot).forced_unload)
    except ReadError:
        return False


def forced_since_start(host: Host, *, forced: bool) -> bool:
    """Return whether a module was removed by force, but had not been when this was first asked."""
    first = _first_taint(host)
    if first.forced is None:
        first.forced = forced
    return forced and not first.forced
