"""Samples the namespaces that have a process, at intervals.

A scrape reads the last sample. Nothing of a namespace is kept open between two: that would keep it
and its interfaces alive after somebody deleted it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Callable, NamedTuple

from netfilter_exporter.kernel import names
from netfilter_exporter.kernel.conntrack.counters import CounterMemory
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netns import ids
from netfilter_exporter.kernel.netns.cgroup import Owner
from netfilter_exporter.kernel.netns.processes import Inhabited, read_inhabited
from netfilter_exporter.kernel.sampler import Sampler
from netfilter_exporter.netns.selection import Selection

#: Seconds between two samples, at least, and the part of one CPU that they may take.
INTERVAL, CPU_SHARE = 15.0, 0.005

Connect = Callable[[], "contextlib.AbstractContextManager[Connection]"]


class Namespace(NamedTuple):
    """A network namespace other than the exporter's."""

    name: str  #: of /run/netns, otherwise the inode number of its /proc/PID/net/stat
    owner: Owner
    entries: int | None  #: None where nf_conntrack is not in this boot
    totals: Mapping[str, int]  #: of all CPUs, with wraps absorbed, by the name of the column


class Sample(NamedTuple):
    """What the last look has found."""

    namespaces: tuple[Namespace, ...]  #: by name
    error: ReadError | None = None  #: why they have no names


class NamespaceSampler(Sampler[Sample]):
    """What the collector asks: the last sample."""

    def __init__(self, paths: Paths, connect: Connect) -> None:
        """`connect` opens, for one look, a connection to NETLINK_ROUTE."""
        super().__init__("namespaces", INTERVAL, CPU_SHARE)
        self._paths = paths
        self._connect = connect
        self._selection = Selection()
        self._counters: dict[int, CounterMemory] = {}  #: by inode number

    def select(self, selection: Selection) -> None:
        """Report these from the next sample on."""
        self._selection = selection

    def take(self) -> Sample:
        with self._names() as (name_of, error):
            found = read_inhabited(self._paths, name_of)
        self._counters = {
            each.inode: self._counters.get(each.inode) or CounterMemory() for each in found
        }
        named: dict[str, Namespace] = {}
        for each in found:
            namespace = self._namespace(each)
            if self._selection.has(namespace.name):
                named.setdefault(namespace.name, namespace)
        return Sample(tuple(named[name] for name in sorted(named)), error)

    @contextlib.contextmanager
    def _names(self) -> Iterator[tuple[Callable[[int], str | None], ReadError | None]]:
        """Yield what names the namespace of a process, and why it names none."""
        if not ids.shares_pids(self._paths):
            yield (lambda _: None), None
            return
        with self._connect() as connection:
            try:
                known = ids.read_names(self._paths, connection)
            except ReadError as error:
                yield (lambda _: None), error
                return

            def name_of(pid: int) -> str | None:
                number = ids.of_process(connection, pid)
                return None if number is None else known.get(number)

            yield (name_of if known else (lambda _: None)), None

    def _namespace(self, found: Inhabited) -> Namespace:
        name = str(found.inode) if found.name is None else names.label(found.name)
        if found.conntrack is None:
            self._counters[found.inode].forget()
            return Namespace(name, found.owner, None, {})
        totals: dict[str, int] = {}
        for cpu in self._counters[found.inode].absorb(found.conntrack.statistics):
            for column, value in cpu.items():
                totals[column] = totals.get(column, 0) + value
        return Namespace(name, found.owner, found.conntrack.entries, totals)
