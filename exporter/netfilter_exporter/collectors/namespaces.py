"""Collector namespaces: connection tracking in the other network namespaces of the host."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from netfilter_exporter.collectors.base import Collector, Metric, Sample
from netfilter_exporter.facts.namespaces import has_netns_helper, namespaces
from netfilter_exporter.facts.snapshot import Snapshot
from netfilter_exporter.kernel.errors import ReadError, raise_worst
from netfilter_exporter.kernel.netns.processes import READ
from netfilter_exporter.rules.families import Family

#: Series of each metric; what is more is counted.
LIMIT = 512

_BY_FAMILY = LIMIT * len(Family)

_HELPER = "Absent without --netns.helper-socket"
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


def _rules(snapshot: Snapshot) -> Iterable[Sample]:
    found = namespaces(snapshot)
    errors: list[ReadError] = []
    for namespace in found.namespaces:
        yield from _by_family(namespace.name, namespace.inside.nat_rules)
        errors += namespace.inside.errors
    if found.helper_error:
        raise found.helper_error
    raise_worst(errors)


def _tracking(snapshot: Snapshot) -> Iterable[Sample]:
    for namespace in namespaces(snapshot).namespaces:
        yield from _by_family(namespace.name, namespace.inside.tracking)


def _forwarding(snapshot: Snapshot) -> Iterable[Sample]:
    for namespace in namespaces(snapshot).namespaces:
        yield from _by_family(namespace.name, namespace.inside.forwarding)


def _by_family(name: str, found: Mapping[Family, int]) -> Iterable[Sample]:
    return (((name, family.value), int(number)) for family, number in found.items())


COLLECTOR = Collector(
    "namespaces",
    "connection tracking in other network namespaces: containers, pods, routers",
    by_default=False,
    budget=0,
    metrics=(
        Metric(
            "netns_info",
            "Always 1, for each other network namespace that has a process, and with"
            " --netns.helper-socket for each in /run/netns. netns: the name in /run/netns, or that"
            " of the LXC or Incus container, or the inode number of /proc/PID/net/stat."
            " container, pod: IDs from the control group of the process with the lowest PID, empty"
            " if it has none.",
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
        Metric(
            "netns_nat_rules",
            "Number of translating rules in the network namespace, in nftables and iptables-legacy."
            f" {_HELPER}, or if a backend could not be read.",
            source="NFT_MSG_GETRULE, IPT_SO_GET_ENTRIES in the namespace",
            samples=_rules,
            of=(namespaces, has_netns_helper),
            labels=("netns", "family"),
            bounded=True,
            limit=_BY_FAMILY,
        ),
        Metric(
            "netns_conntrack_tracking",
            "Whether received packets of the network namespace are tracked (1) or not (0)."
            f" {_HELPER}, or if unknown: without nfnetlink_hook, only rules imply it.",
            source="NFNL_MSG_HOOK_GET, or rules, in the namespace",
            samples=_tracking,
            of=(namespaces,),
            labels=("netns", "family"),
            bounded=True,
            limit=_BY_FAMILY,
        ),
        Metric(
            "netns_forwarding_enabled",
            "Whether the network namespace forwards packets (1) or not (0), as"
            f" netfilter_forwarding_enabled. {_HELPER}, and for IPv6 if a single interface could be"
            " forced to forward.",
            source="RTM_GETNETCONF in the namespace",
            samples=_forwarding,
            of=(namespaces,),
            labels=("netns", "family"),
            bounded=True,
            limit=_BY_FAMILY,
        ),
    ),
)
