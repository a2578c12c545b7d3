"""Collector tracking: the proof that connections are tracked, for each family."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from netfilter_exporter.collectors.base import Collector, Metric, Sample, each, value
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.facts.snapshot import Snapshot
from netfilter_exporter.facts.tracking import tracks
from netfilter_exporter.kernel.conntrack import hooks
from netfilter_exporter.rules.families import Family


def _tracking(snapshot: Snapshot) -> Iterable[Sample]:
    return each(((f.value,), functools.partial(tracks, snapshot, f)) for f in Family)


def _netlink_available(snapshot: Snapshot) -> float | None:
    answers = [
        kernel_modules(snapshot).usable(name) for name in ("nfnetlink", "nf_conntrack_netlink")
    ]
    if False in answers:
        return 0
    return None if None in answers else 1


COLLECTOR = Collector(
    "tracking",
    "proof that connections are tracked",
    budget=4,
    dumps=frozenset({hooks.NFNL_MSG_HOOK_GET}),
    metrics=(
        Metric(
            "conntrack_tracking",
            "Whether packets are proven to be tracked (1) or proven not to be (0). Also 0 if a"
            " notrack rule without a match exempts all received packets. If neither the list of"
            " hooks nor the probe is available, an active translating rule, which registers"
            " tracking, counts as proof. Absent if unknown: see netfilter_source_status.",
            source="nfnetlink_hook, or a datagram on loopback looked up with IPCTNL_MSG_CT_GET, or"
            " NAT rules",
            samples=_tracking,
            labels=("family",),
        ),
        Metric(
            "conntrack_netlink_available",
            "Whether ctnetlink, which conntrack(8) requires, is in the kernel now (1) or not (0).",
            source="/proc/modules, modules.builtin, kernel configuration",
            samples=value(_netlink_available),
        ),
    ),
)
