"""Collector namespaces: connection tracking in the other network namespaces of the host."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from netfilter_exporter.collectors.base import Collector, Metric, Sample
from netfilter_exporter.facts.namespaces import namespaces
from netfilter_exporter.facts.snapshot import Snapshot
from netfilter_exporter.kernel.netns.processes import READ

#: Series of each metric; what is more is counted.
LIMIT = 512

_STATISTICS = "/proc/PID/net/stat/nf_conntrack"


def _info(snapshot: Snapshot) -> Iterable[Sample]:
    found = namespaces(snapshot)
    for namespace in found.namespaces:
        yield (namespace.name, *namespace.owner), 1
    if found.error:
        raise found.error


def _entries(snapshot: Snapshot) -> Iterable[Sample]:
    for namespace in namespaces(snapshot).namespaces:
        if namespace.entries is not None:
            yield (namespace.name,), namespace.entries


def _total(snapshot: Snapshot, column: str) -> Iterable[Sample]:
    for namespace in namespaces(snapshot).namespaces:
        if column in namespace.totals:
            yield (namespace.name,), namespace.totals[column]


COLLECTOR = Collector(
    "namespaces",
    "connection tracking in other network namespaces with a process: containers, pods, routers",
    by_default=False,
    budget=0,
    metrics=(
        Metric(
            "netns_info",
            "Always 1, for each other network namespace that has a process. netns: the name in"
            " /run/netns, or the inode number of /proc/PID/net/stat if there is none. container,"
            " pod: IDs from the control group of the process with the lowest PID, empty if it has"
            " none.",
            source="/proc/PID/net/stat, /proc/PID/cgroup, /run/netns, RTM_GETNSID",
            samples=_info,
            of=(namespaces,),
            labels=("netns", "container", "pod"),
            bounded=True,
            limit=LIMIT,
        ),
        Metric(
            "netns_conntrack_entries",
            "Number of tracked connections in the network namespace. Their limit is"
            " netfilter_conntrack_entries_limit, one number for each network namespace. Absent if"
            " connection tracking is not in the running kernel.",
            source=f"{_STATISTICS} (entries)",
            samples=_entries,
            of=(namespaces,),
            labels=("netns",),
            bounded=True,
            limit=LIMIT,
        ),
        *(
            Metric(
                f"netns_conntrack_{column.name}_total",
                f"In the network namespace: {column.help}",
                source=f"{_STATISTICS} ({column.header.decode()})",
                samples=functools.partial(_total, column=column.name),
                of=(namespaces,),
                labels=("netns",),
                bounded=True,
                limit=LIMIT,
            )
            for column in READ
        ),
    ),
)
