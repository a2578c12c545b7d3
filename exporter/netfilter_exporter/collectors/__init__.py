"""The collectors, one file a topic; a file that is put here is found by itself."""

from __future__ import annotations

import importlib
import pkgutil

from netfilter_exporter.collectors.base import Collector


def load() -> dict[str, Collector]:
    """Return every collector by name: the COLLECTOR of each module of this package."""
    collectors = []
    for module in pkgutil.iter_modules(__path__):
        if module.name != "base":
            imported = importlib.import_module(f"{__name__}.{module.name}")
            collectors.append(imported.COLLECTOR)
    return {collector.name: collector for collector in sorted(collectors, key=lambda c: c.name)}
