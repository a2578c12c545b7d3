"""Collector conntrack: entries against their limit, and the statistics of the tracking core."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Callable

from netfilter_exporter.collectors.base import Collector, Metric, Sample, value
from netfilter_exporter.facts.conntrack import (
    conntrack_buckets,
    conntrack_entries,
    conntrack_expectations_limit,
    conntrack_limit,
    conntrack_present,
    statistics,
    statistics_total,
)
from netfilter_exporter.facts.snapshot import Snapshot
from netfilter_exporter.kernel.conntrack.statistics import COLUMNS, STATISTICS, SYSCTL

PER_CPU = "conntrack.per-cpu"


def _total(snapshot: Snapshot, name: str) -> int | None:
    return statistics_total(snapshot).get(name)


def _per_cpu(name: str) -> Callable[[Snapshot], Iterable[Sample]]:
    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        for number, cpu in enumerate(statistics(snapshot)):
            if name in cpu:
                yield (str(number),), cpu[name]

    return samples


COLLECTOR = Collector(
    "conntrack",
    "connection tracking: entries, limits, drops",
    options={PER_CPU: "serve the statistics of each CPU, not their sums"},
    budget=18,
    metrics=(
        Metric(
            "conntrack_present",
            "Whether connection tracking is in the running kernel, loaded or built in (1), or not"
            " (0). Does not show that anything is tracked.",
            source=f"/proc/{SYSCTL}count",
            samples=value(lambda s: int(conntrack_present(s))),
        ),
        Metric(
            "conntrack_entries",
            "Number of tracked connections in this network namespace. Entries remain after"
            " tracking stops, so they do not prove that connections are tracked.",
            source=f"/proc/{SYSCTL}count",
            samples=value(conntrack_entries),
        ),
        Metric(
            "conntrack_entries_limit",
            "Maximum number of entries in each network namespace; 0 means no limit.",
            source=f"/proc/{SYSCTL}max",
            samples=value(conntrack_limit),
        ),
        Metric(
            "conntrack_buckets",
            "Number of buckets of the hash table, which all network namespaces share.",
            source=f"/proc/{SYSCTL}buckets",
            samples=value(conntrack_buckets),
        ),
        Metric(
            "conntrack_expectations_limit",
            "Maximum number of expectations (related connections that helpers announce).",
            source=f"/proc/{SYSCTL}expect_max",
            samples=value(conntrack_expectations_limit),
        ),
        *(
            Metric(
                f"conntrack_{column.name}_total",
                column.help,
                source=f"/proc/{STATISTICS} ({column.header.decode()})",
                samples=value(functools.partial(_total, name=column.name)),
                unless=PER_CPU,
            )
            for column in COLUMNS
        ),
        *(
            Metric(
                f"conntrack_{column.name}_total",
                column.help,
                source=f"/proc/{STATISTICS} ({column.header.decode()})",
                samples=_per_cpu(column.name),
                labels=("cpu",),
                option=PER_CPU,
            )
            for column in COLUMNS
        ),
    ),
)
