"""The exporter's process: prometheus-client's own collector, as rows.

They are on the page under the names that all Prometheus clients give them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from prometheus_client import ProcessCollector

from netfilter_exporter.collectors.base import Metric, value
from netfilter_exporter.exporter_metrics import Family, served

_log = logging.getLogger(__name__)

Process = Mapping[str, float]  #: the values that could be read, by name


class ProcessReader:
    """Reads the process."""

    def __init__(self, rows: Sequence[Metric[Process]]) -> None:
        self._rows = rows
        self._collector = ProcessCollector(registry=None)

    def families(self) -> list[Family]:
        """Return the families that go on the page."""
        process = self._read()
        return [(row, served(row, process)) for row in self._rows]

    def _read(self) -> Process:
        try:
            collected = list(self._collector.collect())
        except ValueError:  # "unlimited" for the number of descriptors
            _log.exception("the metrics of the process are left out of the page")
            return {}
        return {sample.name: sample.value for family in collected for sample in family.samples}


def _row(name: str, help_: str, source: str) -> Metric[Process]:
    return Metric(name, help_, source, value(lambda process: process.get(name)), prefix="")


#: Alerts wait a while after a start, so this one is always served.
START_TIME = _row(
    "process_start_time_seconds",
    "Start time of the process since unix epoch in seconds.",
    "/proc/self/stat, /proc/stat",
)

ROWS: tuple[Metric[Process], ...] = (
    _row(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        "/proc/self/stat",
    ),
    _row("process_open_fds", "Number of open file descriptors.", "/proc/self/fd"),
    _row("process_max_fds", "Maximum number of open file descriptors.", "/proc/self/limits"),
    _row("process_virtual_memory_bytes", "Virtual memory size in bytes.", "/proc/self/stat"),
    _row("process_resident_memory_bytes", "Resident memory size in bytes.", "/proc/self/stat"),
    START_TIME,
)
