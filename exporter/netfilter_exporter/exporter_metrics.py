"""The exporter's own rows: how a scrape went. They are made of a `Run`, not of the kernel."""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterable
from typing import Any, TypeVar

from netfilter_exporter import __version__
from netfilter_exporter.collection import Run
from netfilter_exporter.collectors.base import Metric, Sample, value
from netfilter_exporter.config.model import NamespaceRule
from netfilter_exporter.facts.machine import machine
from netfilter_exporter.facts.namespace import host_network_namespace
from netfilter_exporter.kernel.errors import ReadError

_log = logging.getLogger(__name__)

T = TypeVar("T")

Family = tuple[Metric[Any], tuple[Sample, ...]]

_BUILD_INFO: tuple[Sample, ...] = (((__version__, platform.python_version()), 1),)


def _success(run: Run) -> Iterable[Sample]:
    for name, outcome in run.outcomes.items():
        yield (name,), int(outcome.success)


def _duration(run: Run) -> Iterable[Sample]:
    for name, outcome in run.outcomes.items():
        yield (name,), round(outcome.seconds, 6)


def _status(run: Run) -> Iterable[Sample]:
    for name, outcome in run.outcomes.items():
        yield (name, outcome.status.value), 1


def _source_status(run: Run) -> Iterable[Sample]:
    for name, status in run.snapshot.source_status().items():
        yield (name, status.value), 1


def _omitted(run: Run) -> Iterable[Sample]:
    for outcome in run.outcomes.values():
        for name, count in outcome.omitted.items():
            if count:
                yield (name,), count


def _host_info(run: Run) -> Iterable[Sample]:
    found = machine(run.snapshot.host)
    if found is not None:
        yield (found,), 1


def _host_network_namespace(run: Run) -> float | None:
    if run.snapshot.host.config.network_namespace is NamespaceRule.ANY:
        return None
    return int(host_network_namespace(run.snapshot))


def _sandbox(run: Run) -> Iterable[Sample]:
    sandbox = run.snapshot.host.sandbox
    for part, reason in (sandbox.parts if sandbox else {}).items():
        yield (part,), int(not reason)


def _reload_successful(run: Run) -> float | None:
    reload_status = run.snapshot.host.reload_status
    return int(reload_status.successful) if reload_status else None


def _reload_time(run: Run) -> float | None:
    reload_status = run.snapshot.host.reload_status
    return reload_status.success_time if reload_status else None


#: Maximum number of samples of the exporter itself, its process included.
BUDGET = 40

ROWS: tuple[Metric[Run], ...] = (
    Metric(
        "exporter_build_info",
        "1; the labels tell the version of the exporter and of its Python.",
        source="the exporter itself",
        samples=lambda _: _BUILD_INFO,
        labels=("version", "pythonversion"),
    ),
    Metric(
        "exporter_host_info",
        "1; the label is a keyed hash of the machine's identity, by which alerts know whose history"
        " they see. Absent where the machine has none, or it cannot be read.",
        source="/etc/machine-id",
        samples=_host_info,
        labels=("machine",),
    ),
    Metric(
        "exporter_host_network_namespace",
        "Whether this is the initial network namespace (1) or another (0), such as a pod's, which"
        " looks healthy and says nothing about the host. Absent where the configuration says any.",
        source="/proc/sys/net/core/netdev_budget, /proc/sys/net/nf_conntrack_max",
        samples=value(_host_network_namespace),
    ),
    Metric(
        "scrape_collector_success",
        "Whether the collector told all that this kernel can tell.",
        source="the exporter itself",
        samples=_success,
        labels=("collector",),
    ),
    Metric(
        "scrape_collector_duration_seconds",
        "Time the collector took.",
        source="the exporter itself",
        samples=_duration,
        labels=("collector",),
    ),
    Metric(
        "scrape_collector_status",
        "1 for the status that holds, the worst of what the collector met: ok, no_data, denied,"
        " unsupported, timeout, error.",
        source="the exporter itself",
        samples=_status,
        labels=("collector", "status"),
    ),
    Metric(
        "source_status",
        "1 for the status that holds, for the sources that fail apart from their collector; also"
        " inconclusive.",
        source="the exporter itself",
        samples=_source_status,
        labels=("source", "status"),
    ),
    Metric(
        "series_omitted",
        "Series left out of a metric whose labels rules or interfaces name: 64 are served. Absent"
        " where none is.",
        source="the exporter itself",
        samples=_omitted,
        labels=("metric",),
    ),
    Metric(
        "exporter_sandbox",
        "Whether the exporter has confined itself with this part (1) or could not, or was told not"
        " to (0): no_new_privs, landlock, capabilities, seccomp.",
        source="the exporter itself",
        samples=_sandbox,
        labels=("part",),
    ),
    Metric(
        "config_last_reload_successful",
        "Whether the files of --config.file and --web.config.file were good when they were last"
        " read (1); where one was not (0), what it said before stays. Only where they are served.",
        source="the exporter itself",
        samples=value(_reload_successful),
    ),
    Metric(
        "config_last_reload_success_timestamp_seconds",
        "When both files were last read and good, in seconds since the epoch.",
        source="the exporter itself",
        samples=value(_reload_time),
    ),
)

#: Beside ROWS, where a page is written with --textfile.directory.
TEXTFILE_ROW: Metric[float] = Metric(
    "textfile_timestamp_seconds",
    "When the page was written with --textfile.directory, in seconds since the epoch: nothing else"
    " tells that a text file is old.",
    source="the exporter itself",
    samples=value(lambda now: now),
)


def page_families(run: Run) -> list[Family]:
    """Return all families of the page, in one order: the exporter's own, then by collector.

    What a row of the exporter's own cannot read gives no sample.
    """
    families: list[Family] = [(row, served(row, run)) for row in ROWS]
    for name in sorted(run.outcomes):
        families.extend(run.outcomes[name].families)
    return families


def served(row: Metric[T], facts: T) -> tuple[Sample, ...]:
    """Return the samples of a row that belongs to no collector."""
    try:
        return tuple(row.samples(facts))
    except ReadError:
        return ()
    except Exception:  # a defect of ours must not take the page down
        _log.exception("metric %s", row.full_name)
        return ()
