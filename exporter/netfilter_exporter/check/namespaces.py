"""Checks of other network namespaces: how full their tables are, and what they drop."""

from __future__ import annotations

from collections.abc import Iterator

from netfilter_exporter.check import shell
from netfilter_exporter.check.context import Context
from netfilter_exporter.check.findings import Found, Severity, count, unknown
from netfilter_exporter.check.shell import Line
from netfilter_exporter.check.table import DROPS, FILLING, FULL, WINDOW, larger, raise_limit
from netfilter_exporter.facts.conntrack import conntrack_limit
from netfilter_exporter.kernel.names import is_text
from netfilter_exporter.netns.sampler import Namespace, Sample


def netns_table_filling(context: Context) -> Iterator[Found]:
    """More than 80 % of the limit is used in a namespace; above 95 % it is critical."""
    sample = _checked(context)
    if sample.helper_error:
        yield unknown(f"Unknown: {sample.helper_error}")
    elif not sample.namespaces:
        has_process = "" if sample.has_helper else " has a process"
        yield unknown(f"Unknown: no other network namespace of this name{has_process}")
    limit = conntrack_limit(context.snapshot)
    for namespace in sample.namespaces:
        entries = namespace.entries
        if entries is None or limit <= 0 or entries <= FILLING * limit:
            continue
        yield Found(
            f"The table of the network namespace {namespace.name} is {entries / limit:.0%} full:"
            f" {entries} of {limit}.",
            "At the limit the kernel drops every new connection of this namespace.",
            {"netns": namespace.name, "entries": entries, "limit": limit},
            (*raise_limit(context, larger(limit)), *_biggest(namespace)),
            Severity.CRITICAL if entries > FULL * limit else None,
        )


def netns_dropping(context: Context) -> Iterator[Found]:
    """Packets are dropped in a namespace that are no clashes."""
    watched = context.namespaces
    sample = _checked(context)
    if watched is None or watched.before is None:
        return
    before = {each.name: each.totals for each in watched.before.namespaces}
    for namespace in sample.namespaces:
        if namespace.name not in before:
            continue
        grown = {
            column: max(total - before[namespace.name].get(column, total), 0)
            for column, total in namespace.totals.items()
        }
        lost = grown.get("drop", 0) - grown.get("insert_failed", 0)
        if lost / watched.seconds * WINDOW > DROPS:
            yield Found(
                f"The network namespace {namespace.name} dropped {count(lost, 'packet')} in"
                f" {watched.seconds:.1f} s.",
                "Its table is full or an entry could not be allocated (insert races excluded).",
                {"netns": namespace.name, **grown, "seconds": round(watched.seconds, 1)},
                _biggest(namespace),
            )


def _checked(context: Context) -> Sample:
    """Return the namespaces to check; raises `ReadError` where they are unknown."""
    watched = context.namespaces
    if watched is None:  # evaluate() leaves these alerts out
        return Sample(())
    if watched.error:
        raise watched.error
    return watched.now


def _biggest(namespace: Namespace) -> tuple[Line, ...]:
    """Return what lists the sources with the most entries, where /run/netns has the namespace."""
    if namespace.name.isdigit() or namespace.owner.name or not is_text(namespace.name):
        return ()
    listing = shell.command("ip", "netns", "exec", namespace.name, "conntrack", "-L")
    sources = shell.fixed("grep -o 'src=[^ ]*'")
    rest = map(shell.fixed, ("sort", "uniq -c", "sort -rn", "head"))
    return (shell.pipe(listing, sources, *rest),)
