"""The exporter's own process, under the names that all Prometheus clients give these metrics.

prometheus-client has them too, and takes eight times as long: a twelfth of a scrape. Source:
fs/proc/array.c (do_task_stat, proc_pid_statm), fs/proc/fd.c (proc_fd_getattr) and fs/proc/stat.c of
v6.18.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from typing import Callable, NamedTuple

from netfilter_exporter.collectors.base import Metric, value
from netfilter_exporter.exporter_metrics import Family, served
from netfilter_exporter.kernel.errors import Malformed, from_oserror, or_none
from netfilter_exporter.kernel.files import parse_int, read_bytes

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
_START = 19  #: the column of /proc/PID/stat, counted from behind the name of the command


class Process(NamedTuple):
    """What the kernel says of the process; None where it says nothing."""

    start_time: float | None  #: seconds since the epoch
    memory: tuple[int, int] | None  #: bytes: virtual and resident


def _memory() -> tuple[int, int]:
    """Return the virtual and the resident size in bytes: /proc/self/statm has pages."""
    path = "/proc/self/statm"
    size, resident, *_ = read_bytes(path).split()
    return parse_int(size, path) * _PAGE, parse_int(resident, path) * _PAGE


def _start_time() -> float:
    """Return when the process was started, in seconds since the epoch."""
    path = "/proc/self/stat"
    after_boot = parse_int(read_bytes(path).rpartition(b")")[2].split()[_START], path)
    path = "/proc/stat"
    for line in read_bytes(path).splitlines():
        if line.startswith(b"btime "):
            return parse_int(line.split()[1], path) + after_boot / _TICK
    raise Malformed(f"{path}: no line of btime")


def _descriptors() -> int:
    """Return how many are open: the size of the directory since Linux 6.2, else its names.

    To list them costs a twentieth of a scrape.
    """
    path = "/proc/self/fd"
    try:
        return os.stat(path).st_size or len(os.listdir(path))
    except OSError as error:
        raise from_oserror(error, path) from None


def _most_descriptors() -> float:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if soft == resource.RLIM_INFINITY else soft


class ProcessReader:
    """Reads the process; what stays is looked at once."""

    def __init__(self, rows: Sequence[Metric[Process]]) -> None:
        self._rows = rows
        self._start_time = or_none(_start_time)

    def families(self) -> list[Family]:
        """Return the families that go on the page."""
        process = Process(self._start_time, or_none(_memory))
        return [(row, served(row, process)) for row in self._rows]


def _row(
    name: str, help_: str, source: str, read: Callable[[Process], float | None]
) -> Metric[Process]:
    return Metric(name, help_, source, value(read), prefix="")


#: Alerts wait a while after a start, so this one is always served.
START_TIME = _row(
    "process_start_time_seconds",
    "Start time of the process since unix epoch in seconds.",
    "/proc/self/stat, /proc/stat",
    lambda process: process.start_time,
)

ROWS: tuple[Metric[Process], ...] = (
    _row(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        "clock_gettime(2)",
        lambda _: time.process_time(),
    ),
    _row(
        "process_open_fds",
        "Number of open file descriptors.",
        "/proc/self/fd",
        lambda _: _descriptors(),
    ),
    _row(
        "process_max_fds",
        "Maximum number of open file descriptors.",
        "getrlimit(2)",
        lambda _: _most_descriptors(),
    ),
    _row(
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
        "/proc/self/statm",
        lambda process: process.memory and process.memory[0],
    ),
    _row(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        "/proc/self/statm",
        lambda process: process.memory and process.memory[1],
    ),
    START_TIME,
)
