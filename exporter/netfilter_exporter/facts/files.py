"""Files that hold one number: opened once, shared by all topics."""

from __future__ import annotations

from netfilter_exporter.facts.snapshot import Host, kept
from netfilter_exporter.kernel.files import CachedIntReader


@kept
def int_reader(_: Host) -> CachedIntReader:
    """Return the reader that keeps such files open."""
    return CachedIntReader()
