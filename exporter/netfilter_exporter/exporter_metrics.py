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
        "Always 1. The labels are the versions of the exporter and of Python.",
        source="the exporter itself",
        samples=lambda _: _BUILD_INFO,
        labels=("version", "pythonversion"),
    ),
    Metric(
        "exporter_host_info",
        "Always 1. The label is a keyed hash of the machine ID. Alerts use it to detect that an"
        " address now belongs to a different machine. Absent if there is no machine ID, or it"
        " cannot be read.",
        source="/etc/machine-id",
        samples=_host_info,
        labels=("machine",),
    ),
    Metric(
        "exporter_host_network_namespace",
        "Whether the exporter runs in the initial network namespace (1) or in another (0), such"
        " as a pod's. If 0, no other metric describes the host. Absent with `network_namespace:"
        " any`.",
        source="/proc/sys/net/core/netdev_budget, /proc/sys/net/nf_conntrack_max",
        samples=value(_host_network_namespace),
    ),
    Metric(
        "scrape_collector_success",
        "Whether the collector succeeded (1) or not (0).",
        source="the exporter itself",
        samples=_success,
        labels=("collector",),
    ),
    Metric(
        "scrape_collector_duration_seconds",
        "Duration of the collector in seconds.",
        source="the exporter itself",
        samples=_duration,
        labels=("collector",),
    ),
    Metric(
        "scrape_collector_status",
        "1 for the status of the collector. From best to worst: ok, no_data (what it reads is"
        " absent, such as a module), unsupported (this kernel cannot answer), denied (a privilege"
        " is missing), timeout, error. If several apply, the worst.",
        source="the exporter itself",
        samples=_status,
        labels=("collector", "status"),
    ),
    Metric(
        "source_status",
        "1 for the status of a data source that may fail while its collector succeeds. The"
        " statuses are those of netfilter_scrape_collector_status, and inconclusive (the answer"
        " proves nothing).",
        source="the exporter itself",
        samples=_source_status,
        labels=("source", "status"),
    ),
    Metric(
        "series_omitted",
        "Number of series that were left out of the metric. Metrics that have one series for each"
        " rule, chain or interface are limited to 64 series, those of other network namespaces to"
        " 512. Absent if none was left out.",
        source="the exporter itself",
        samples=_omitted,
        labels=("metric",),
    ),
    Metric(
        "exporter_sandbox",
        "Whether this part of the sandbox is active (1), or unavailable or disabled (0):"
        " no_new_privs, landlock, capabilities, seccomp.",
        source="the exporter itself",
        samples=_sandbox,
        labels=("part",),
    ),
    Metric(
        "config_last_reload_successful",
        "Whether the last reload of --config.file and --web.config.file succeeded (1) or not (0)."
        " After a failed reload the previous configuration stays in use. Absent in text file mode.",
        source="the exporter itself",
        samples=value(_reload_successful),
    ),
    Metric(
        "config_last_reload_success_timestamp_seconds",
        "Time of the last successful reload in seconds since the epoch.",
        source="the exporter itself",
        samples=value(_reload_time),
    ),
)

#: Besides ROWS, where a page is written with --textfile.directory.
TEXTFILE_ROW: Metric[float] = Metric(
    "textfile_timestamp_seconds",
    "Time at which the page was written with --textfile.directory, in seconds since the epoch.",
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
