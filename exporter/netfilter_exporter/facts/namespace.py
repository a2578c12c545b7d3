"""Facts about the network namespace that the exporter runs in."""

from __future__ import annotations

from netfilter_exporter.facts.snapshot import Snapshot, fact
from netfilter_exporter.kernel import namespace


@fact
def host_network_namespace(snapshot: Snapshot) -> bool:
    """Whether this is the network namespace that the machine booted with."""
    return namespace.read_host_network_namespace(snapshot.paths)
