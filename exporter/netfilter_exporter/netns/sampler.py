"""Samples the namespaces that have a process, and through a helper those of a name, at intervals.

A scrape reads the last sample. Nothing of a namespace is kept open between two: that would keep it
and its interfaces alive after somebody deleted it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Callable, NamedTuple

from netfilter_exporter.kernel import names
from netfilter_exporter.kernel.conntrack.counters import CounterMemory
from netfilter_exporter.kernel.conntrack.statistics import total
from netfilter_exporter.kernel.errors import Denied, ReadError, bare
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netns import ids
from netfilter_exporter.kernel.netns.cgroup import Owner
from netfilter_exporter.kernel.netns.helper import Helper
from netfilter_exporter.kernel.netns.processes import Conntrack, Inhabited, read_inhabited
from netfilter_exporter.kernel.sampler import Sampler
from netfilter_exporter.netns.entered import Entered, Inside, NamespaceReader
from netfilter_exporter.netns.selection import Selection

#: Seconds between two samples, at least, and the part of one CPU that they may take: 0.5 % with
#: what the threads of an exporter take besides.
INTERVAL, CPU_SHARE = 15.0, 0.0045

Connect = Callable[[], "contextlib.AbstractContextManager[Connection]"]


class Namespace(NamedTuple):
    """A network namespace other than the exporter's."""

    #: Of /run/netns, else of its container, else the inode number of its /proc/PID/net/stat.
    name: str
    owner: Owner
    entries: int | None  #: None where nf_conntrack is not in this boot
    totals: Mapping[str, int]  #: of all CPUs, with wraps absorbed, by the name of the column
    inside: Inside = Inside()  #: nothing without a helper


class Sample(NamedTuple):
    """What the last look has found."""

    namespaces: tuple[Namespace, ...]  #: by name
    error: ReadError | None = None  #: why some have no names, or are missing
    has_helper: bool = False  #: one was asked
    helper_error: ReadError | None = None  #: why it did not help


class NamespaceSampler(Sampler[Sample]):
    """What the collector asks: the last sample."""

    def __init__(self, paths: Paths, connect: Connect, clock: Callable[[], float]) -> None:
        """`connect` opens, for one look, a connection to NETLINK_ROUTE."""
        super().__init__("namespaces", INTERVAL, CPU_SHARE)
        self._paths = paths
        self._connect = connect
        self._selection = Selection()
        self._helper: Helper | None = None
        self._spent_by_helper = 0.0
        self._reader = NamespaceReader(paths, clock)
        self._counters: dict[int, CounterMemory] = {}  #: by inode number

    def select(self, selection: Selection, helper: Helper | None = None) -> None:
        """Report these from the next sample on, and enter those of a name through `helper`."""
        self._selection = selection
        self._helper = helper

    def look(self) -> None:
        """Take one sample; the first one reads each ruleset, others compare: it sets no pace."""
        is_first = self._found_at == -math.inf
        super().look()
        if is_first:
            self._interval = INTERVAL

    def spent_by_others(self) -> float:
        return self._spent_by_helper

    def take(self) -> Sample:
        entered, helper_error = self._enter()
        inhabited, error = self._inhabited(is_named=bool(self._helper) and not helper_error)
        found = [*_merged(inhabited, entered)]
        self._counters = {
            each.inode: self._counters.get(each.inode) or CounterMemory() for each in found
        }
        named: dict[str, Namespace] = {}
        for each, name in _named(found):
            namespace = self._namespace(each, name)
            if self._selection.has(name):
                named.setdefault(name, namespace)
        namespaces = tuple(named[name] for name in sorted(named))
        return Sample(namespaces, error, bool(self._helper), helper_error)

    def _enter(self) -> tuple[Mapping[int, Entered], ReadError | None]:
        """Return the namespaces that the helper entered, by inode number, and what ended that."""
        found: dict[int, Entered] = {}
        self._spent_by_helper = 0.0
        if not self._helper:
            return found, None
        try:
            with contextlib.closing(self._helper.connect()) as connection:
                try:
                    for each in self._reader.read(connection, self._selection.has):
                        found[each.inode] = each
                finally:
                    self._spent_by_helper = connection.spent()
        except ReadError as error:
            return found, bare(error)
        return found, None

    def _inhabited(self, *, is_named: bool) -> tuple[tuple[Inhabited, ...], ReadError | None]:
        """Return the namespaces that have a process, and why they have no names, or are unknown.

        `is_named`: the helper has named them all, and knows some even where these are unknown.
        """
        if not is_named:
            with self._names() as (name_of, error):
                return read_inhabited(self._paths, name_of), error
        try:
            return read_inhabited(self._paths, lambda _: None), None
        except Denied:  # hidden on purpose: those of a name are known all the same
            return (), None
        except ReadError as error:
            return (), bare(error)

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
                yield (lambda _: None), bare(error)
                return

            def name_of(pid: int) -> str | None:
                number = ids.of_process(connection, pid)
                return None if number is None else known.get(number)

            yield (name_of if known else (lambda _: None)), None

    def _namespace(self, found: _Found, name: str) -> Namespace:
        if found.conntrack is None:
            self._counters[found.inode].forget()
            return Namespace(name, found.owner, None, {}, found.inside)
        totals = total(self._counters[found.inode].absorb(found.conntrack.statistics))
        return Namespace(name, found.owner, found.conntrack.entries, totals, found.inside)


class _Found(NamedTuple):
    """What both ways have found of a namespace."""

    inode: int
    name: str | None
    owner: Owner
    conntrack: Conntrack | None
    inside: Inside


def _merged(inhabited: Iterable[Inhabited], entered: Mapping[int, Entered]) -> Iterator[_Found]:
    """Yield each namespace once; its owner is known where it has a process."""
    left = dict(entered)
    for each in inhabited:
        known = left.pop(each.inode, None)
        name, inside = (known.name, known.inside) if known else (each.name, Inside())
        yield _Found(each.inode, name, each.owner, each.conntrack, inside)
    for of_name in left.values():
        yield _Found(of_name.inode, of_name.name, Owner(), of_name.conntrack, of_name.inside)


def _named(found: Iterable[_Found]) -> Iterator[tuple[_Found, str]]:
    """Yield each with its name. A container's is that of the namespace of its first process."""
    found = tuple(found)
    taken = {names.label(each.name) for each in found if each.name is not None}
    for each in found:
        name = names.label(each.owner.name if each.name is None else each.name)
        if each.name is None and (not name or name in taken):
            name = str(each.inode)
        taken.add(name)
        yield each, name
