"""Facts about connection tracking: its entries, its limits and its statistics."""

from __future__ import annotations

from collections.abc import Mapping

from netfilter_exporter.facts.modules import netfilter
from netfilter_exporter.facts.snapshot import Host, Snapshot, fact, kept, source
from netfilter_exporter.facts.sysctls import sysctls
from netfilter_exporter.kernel import files, kept_files
from netfilter_exporter.kernel.conntrack import ctnetlink
from netfilter_exporter.kernel.conntrack.counters import CounterMemory
from netfilter_exporter.kernel.conntrack.statistics import (
    SYSCTL,
    Statistics,
    read_statistics,
    total,
)
from netfilter_exporter.kernel.errors import NoData
from netfilter_exporter.kernel.sysctl.names import CONNTRACK


def _number(snapshot: Snapshot, name: str) -> int:
    """Return what was read with the other sysctls, or raise why it was not."""
    found = sysctls(snapshot).values.get(CONNTRACK + name)
    return kept_files.read_int(snapshot.paths.proc(SYSCTL + name)) if found is None else found


@fact
def conntrack_entries(snapshot: Snapshot) -> int:
    """Entries of this namespace; NoData where nf_conntrack is not in this boot."""
    return _number(snapshot, "count")


@fact
def conntrack_present(snapshot: Snapshot) -> bool:
    """Whether the core is in this boot: the best single test, on all kernels."""
    return files.exists(snapshot.paths.proc(SYSCTL + "count"))


@fact
def conntrack_limit(snapshot: Snapshot) -> int:
    """nf_conntrack_max: one for all namespaces, compared with the entries of each."""
    return _number(snapshot, "max")


@fact
def conntrack_buckets(snapshot: Snapshot) -> int:
    """The size of the hash table, which all namespaces share."""
    return _number(snapshot, "buckets")


@fact
def conntrack_expectations_limit(snapshot: Snapshot) -> int:
    """nf_conntrack_expect_max."""
    return _number(snapshot, "expect_max")


@kept
def _counters(_: Host) -> CounterMemory:
    return CounterMemory()


@source(70)
def statistics(snapshot: Snapshot) -> Statistics:
    """Counters of each CPU, with wraps absorbed."""
    counters = _counters(snapshot.host)
    if not conntrack_present(snapshot):
        counters.forget()
        raise NoData("nf_conntrack is not in this boot")
    try:
        raw = read_statistics(snapshot.paths)
    except NoData:  # built without CONFIG_NF_CONNTRACK_PROCFS
        raw = ctnetlink.read_statistics(netfilter(snapshot, "nf_conntrack_netlink"))
    return counters.absorb(raw)


@fact
def statistics_total(snapshot: Snapshot) -> Mapping[str, int]:
    """The counters of all CPUs together."""
    return total(statistics(snapshot))
