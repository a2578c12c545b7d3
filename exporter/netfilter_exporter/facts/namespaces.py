"""Facts about the host's other network namespaces: what the sampler has seen of them."""

from __future__ import annotations

import contextlib

from netfilter_exporter.facts.snapshot import Host, Snapshot, fact, kept, source
from netfilter_exporter.kernel.errors import NoData, ReadError
from netfilter_exporter.kernel.netlink.messages import NETLINK_ROUTE
from netfilter_exporter.kernel.system import System
from netfilter_exporter.netns.sampler import NamespaceSampler, Sample

#: Seconds for the netlink requests of one look, which reads files of all processes between them.
_DEADLINE = 30.0


@kept
def namespace_sampler(host: Host) -> NamespaceSampler:
    """Return the sampler of this process; it looks from `start` on."""
    return make_sampler(host.system)


def make_sampler(system: System) -> NamespaceSampler:
    """Return a sampler that has not looked yet."""
    return NamespaceSampler(
        system.paths,
        lambda: contextlib.closing(system.connect(NETLINK_ROUTE, _DEADLINE)),
        system.clock,
    )


@fact
def namespaces(snapshot: Snapshot) -> Sample:
    """What the last look found; NoData where none is taken."""
    return namespace_sampler(snapshot.host).current()


@source(90)
def netns_helper(snapshot: Snapshot) -> None:
    """Whether the helper that enters namespaces works; NoData where none is asked."""
    found = namespaces(snapshot)
    if not found.has_helper:
        raise NoData("no helper for network namespaces is configured")
    if found.helper_error:
        raise found.helper_error


@fact
def has_netns_helper(snapshot: Snapshot) -> bool:
    """Whether a helper is asked; if so, its status is on the page."""
    found = namespaces(snapshot)
    if found.has_helper:
        with contextlib.suppress(ReadError):  # rows that need it raise it
            netns_helper(snapshot)
    return found.has_helper
