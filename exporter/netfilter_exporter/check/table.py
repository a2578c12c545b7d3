"""Checks of the table of connections: its limit, its size, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

from netfilter_exporter.check import commands, shell
from netfilter_exporter.check.context import Context
from netfilter_exporter.check.findings import Found, Severity, count, unknown
from netfilter_exporter.check.shell import Line
from netfilter_exporter.facts.conntrack import (
    conntrack_buckets,
    conntrack_entries,
    conntrack_limit,
    conntrack_present,
)
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.facts.namespace import host_network_namespace
from netfilter_exporter.kernel.errors import NoData, or_none
from netfilter_exporter.kernel.sysctl.names import MAX, to_name

#: Of the limit.
FILLING, FULL = 0.80, 0.95
_LEAST_LIMIT = 65536  #: of the limits that are recommended: 20 MB of memory when it is reached
#: Entries for each bucket: more make every lookup slow.
CHAIN_LENGTH = 8

#: The alert counts over five minutes; what is measured here is scaled to that.
WINDOW = 300.0
DROPS = 10.0  #: in WINDOW
FAILURES = 0.1  #: a second
INVALID = 10.0  #: a second

_MAX = to_name(MAX)
_STATISTICS = shell.fixed("conntrack -S")
_FILL = shell.command("sysctl", _MAX, "net.netfilter.nf_conntrack_count")
_BIGGEST = (
    shell.fixed(
        "conntrack -L 2>/dev/null | grep -o 'src=[^ ]*' | sort | uniq -c | sort -rn | head"
    ),
    shell.comment("the first lines are the sources with the most entries"),
)


def conntrack_table_filling(context: Context) -> Iterator[Found]:
    """More than 80 % of the limit is used; above 95 % it is critical."""
    limit, entries = conntrack_limit(context.snapshot), conntrack_entries(context.snapshot)
    if limit <= 0 or entries <= FILLING * limit:
        return
    full = entries > FULL * limit
    yield Found(
        f"The table of connections is {entries / limit:.0%} full: {entries} of {limit}.",
        "At the limit the kernel drops every new connection silently.",
        {"entries": entries, "limit": limit},
        (*raise_limit(context, larger(limit)), *_BIGGEST),
        Severity.CRITICAL if full else None,
    )


def larger(limit: int) -> int:
    """Return a limit that is at least twice as high."""
    return max(1 << (2 * limit - 1).bit_length(), _LEAST_LIMIT)


def raise_limit(context: Context, limit: int) -> tuple[Line, ...]:
    """Return what sets the limit, which all namespaces share, and resizes the hash table."""
    modules = kernel_modules(context.snapshot)
    lines = commands.set_sysctl(_MAX, limit, modules) + _resize(context, limit // 4)
    if or_none(lambda: host_network_namespace(context.snapshot)) is False:
        note = shell.comment("one value for all: set it in the initial network namespace")
        return (note, *lines)
    return lines


def _resize(context: Context, buckets: int) -> tuple[Line, ...]:
    """Return what makes the hash table as large as `buckets`, if it is smaller.

    Some kernels show its size only in the initial network namespace.
    """
    present = or_none(lambda: conntrack_buckets(context.snapshot))
    if present is None or present >= buckets:
        return ()
    return commands.set_sysctl(
        "net.netfilter.nf_conntrack_buckets", buckets, kernel_modules(context.snapshot)
    )


def conntrack_unlimited(context: Context) -> Iterator[Found]:
    """The limit is 0."""
    if conntrack_limit(context.snapshot) == 0:
        yield Found(
            "The table of connections has no limit.",
            f"{_MAX} is 0. Until Linux 6.18 that means no limit, later kernels refuse it: a flood"
            " of connections takes all memory.",
            {"limit": 0, "entries": conntrack_entries(context.snapshot)},
            commands.set_sysctl(_MAX, 4 * _LEAST_LIMIT, kernel_modules(context.snapshot)),
        )


def conntrack_hash_too_small(context: Context) -> Iterator[Found]:
    """There are too few buckets for the limit."""
    limit, buckets = conntrack_limit(context.snapshot), conntrack_buckets(context.snapshot)
    if limit > CHAIN_LENGTH * buckets:
        yield Found(
            f"The hash table has {buckets} buckets for a limit of {limit} entries.",
            f"More than {CHAIN_LENGTH} entries in a bucket slow down every packet. Raising the"
            " limit does not raise the number of buckets.",
            {"limit": limit, "buckets": buckets},
            _resize(context, 1 << (limit // 4 - 1).bit_length()),
        )


# -- rates -------------------------------------------------------------------------------------

NOT_MEASURED = "not measured here: netfilter_exporter check measures it over --interval"


def _measured(
    check: Callable[[Context, float], Iterator[Found]],
) -> Callable[[Context], Iterator[Found]]:
    """Make a check of what happened between two looks, which needs that there are two."""

    def run(context: Context) -> Iterator[Found]:
        if not conntrack_present(context.snapshot):
            return
        if context.seconds is None:
            yield unknown(NOT_MEASURED)
        else:
            yield from check(context, context.seconds)

    return run


@_measured
def conntrack_dropping(context: Context, seconds: float) -> Iterator[Found]:
    """Packets are dropped that are no clashes."""
    drops, failed = context.increase("drop"), context.increase("insert_failed")
    too_long = _too_long(context)
    lost = drops - max(failed - too_long, 0)
    if lost / seconds * WINDOW > DROPS:
        yield Found(
            f"Connection tracking dropped {count(lost, 'packet')} in {seconds:.1f} s.",
            "Packets dropped because the table is full or an entry could not be allocated"
            " (insert races excluded).",
            {
                "drop": drops,
                "insert_failed": failed,
                "chain_too_long": too_long,
                "seconds": round(seconds, 1),
            },
            (_STATISTICS, _FILL, *_BIGGEST),
        )


def _too_long(context: Context) -> int:
    """Return how many entries a long hash chain refused: most raise insert_failed, none drop."""
    try:
        return context.increase("chain_too_long")
    except NoData:  # before Linux 5.15
        return 0


@_measured
def conntrack_evicting(context: Context, seconds: float) -> Iterator[Found]:
    """Entries are evicted to make room."""
    evicted = context.increase("early_drop")
    if evicted:
        yield Found(
            f"{count(evicted, 'connection')} evicted from a full table in {seconds:.1f} s.",
            "The kernel evicts connections without a reply to make room for new ones.",
            {"early_drop": evicted, "seconds": round(seconds, 1)},
            (_FILL, *_BIGGEST),
        )


@_measured
def conntrack_insert_failing(context: Context, seconds: float) -> Iterator[Found]:
    """Connections find no place in the table."""
    failed = context.increase("insert_failed")
    if failed / seconds > FAILURES:
        yield Found(
            f"{count(failed, 'connection')} could not be entered in {seconds:.1f} s.",
            "Two packets of one flow raced, as with DNS, or no port was left for a translation.",
            {"insert_failed": failed, "seconds": round(seconds, 1)},
            (_STATISTICS,),
        )


@_measured
def conntrack_invalid_packets(context: Context, seconds: float) -> Iterator[Found]:
    """Packets belong to no connection."""
    invalid = context.increase("invalid")
    if invalid / seconds > INVALID:
        yield Found(
            f"{count(invalid, 'packet')} could not be tracked in {seconds:.1f} s.",
            "Invalid packets bypass NAT and leave with their private source address.",
            {"invalid": invalid, "seconds": round(seconds, 1)},
            (
                commands.write_sysctl("net.netfilter.nf_conntrack_log_invalid", 255),
                shell.comment("see the kernel's log, and then set it back to 0"),
            ),
        )
