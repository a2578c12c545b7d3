"""A snapshot that holds given facts and reads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netfilter_exporter.config.model import Config
from netfilter_exporter.facts.snapshot import Fact, Host, Snapshot
from netfilter_exporter.kernel.system import System


def snapshot_of(values: Mapping[Fact[Any], Any], config: Config | None = None) -> Snapshot:
    """Return a snapshot of these values; any other fact would be read from this machine."""
    snapshot = Host(System(), config or Config()).snapshot(timeout=0)
    snapshot.values.update(values)
    return snapshot
