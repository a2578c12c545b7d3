"""Which machine this is."""

from __future__ import annotations

from netfilter_exporter.facts.snapshot import Host, kept
from netfilter_exporter.kernel.errors import or_none
from netfilter_exporter.kernel.machine import read_machine


@kept
def machine(host: Host) -> str | None:
    """A keyed hash of the machine's identity; None where it has none that can be read."""
    return or_none(lambda: read_machine(host.system.paths))
