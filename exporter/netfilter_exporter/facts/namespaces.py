"""Facts about the host's other network namespaces: what the sampler has seen of them."""

from __future__ import annotations

import contextlib

from netfilter_exporter.facts.snapshot import Host, Snapshot, fact, kept
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
        system.paths, lambda: contextlib.closing(system.connect(NETLINK_ROUTE, _DEADLINE))
    )


@fact
def namespaces(snapshot: Snapshot) -> Sample:
    """What the last look found; NoData where none is taken."""
    return namespace_sampler(snapshot.host).current()
