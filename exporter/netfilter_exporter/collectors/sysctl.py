"""Collector sysctl: values, names that scripts use, and whether wanted values are in effect."""

from __future__ import annotations

from collections.abc import Iterable

from netfilter_exporter.collectors.base import Collector, Metric, Sample
from netfilter_exporter.facts.snapshot import Snapshot
from netfilter_exporter.facts.sysctl_comparisons import sysctl_comparisons
from netfilter_exporter.facts.sysctls import sysctls
from netfilter_exporter.kernel.errors import ReadError, raise_worst
from netfilter_exporter.kernel.sysctl import names as sysctl_names

_ASKED = "/etc/sysctl.d, /run/sysctl.d, /usr/local/lib/sysctl.d, /usr/lib/sysctl.d; --config.file"


def _values(snapshot: Snapshot) -> Iterable[Sample]:
    reading = sysctls(snapshot)
    for key, value in reading.values.items():
        if not key.startswith(sysctl_names.FRAG6):  # nf_defrag_ipv6's, whatever they are called
            yield (sysctl_names.to_name(key),), value
    raise_worst(reading.errors)


def _present(snapshot: Snapshot) -> Iterable[Sample]:
    errors = []
    for key, watched in sysctl_names.WATCHED.items():
        present = sysctls(snapshot).presence(snapshot.paths, key)
        if isinstance(present, ReadError):
            errors.append(present)
        else:
            yield (watched.name,), int(present)
    desired = {v.desired.key: v for v in sysctl_comparisons(snapshot).comparisons}
    for key in sorted(desired.keys() - sysctl_names.WATCHED.keys()):
        yield (desired[key].desired.name,), int(desired[key].present)
    raise_worst(errors)


def _wanted(snapshot: Snapshot) -> Iterable[Sample]:
    found = sysctl_comparisons(snapshot)
    for comparison in found.comparisons:
        yield (comparison.desired.name, comparison.desired.source), comparison.desired.value
    raise_worst(found.errors)


def _mismatch(snapshot: Snapshot) -> Iterable[Sample]:
    found = sysctl_comparisons(snapshot)
    for comparison in found.comparisons:
        if comparison.mismatch is not None:
            yield (comparison.desired.name, comparison.desired.source), int(comparison.mismatch)
    raise_worst(found.errors)


COLLECTOR = Collector(
    "sysctl",
    "sysctls of connection tracking and forwarding, and what is asked of them",
    budget=70,
    metrics=(
        Metric(
            "sysctl",
            "Value of each numeric sysctl of connection tracking and forwarding.",
            source="/proc/sys/net",
            samples=_values,
            of=(sysctls,),
            labels=("name",),
        ),
        Metric(
            "sysctl_present",
            "Whether this kernel has the sysctl now (1) or not (0). Covers names that old guides"
            " and scripts still use, and every name in netfilter_sysctl_wanted.",
            source="/proc/sys/net",
            samples=_present,
            labels=("name",),
            bounded=True,
        ),
        Metric(
            "sysctl_wanted",
            "Value that the configuration sets, or that the sysctl.d files set, read in the order"
            " of systemd-sysctl.",
            source=_ASKED,
            samples=_wanted,
            of=(sysctl_comparisons,),
            labels=("name", "source"),
            bounded=True,
        ),
        Metric(
            "sysctl_mismatch",
            "Whether the current value differs from the wanted one (1) or not (0). For limits,"
            " buckets and forwarding, a current value above that of sysctl.d is not a mismatch."
            " Absent if this kernel does not have the sysctl.",
            source=_ASKED,
            samples=_mismatch,
            of=(sysctl_comparisons,),
            labels=("name", "source"),
            bounded=True,
        ),
    ),
)
