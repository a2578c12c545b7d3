"""One look at the flow table: from which source, and of how many entries.

What is chosen: /proc/net/nf_conntrack where the table is sparse or shared with other namespaces,
as one receive of ctnetlink would walk all that for long with softirqs off; ctnetlink otherwise,
where it is there already; else /proc/net/nf_conntrack again. Nothing is loaded, and nothing is
read of a table without entries: a dump would walk every bucket of it.
"""

from __future__ import annotations

from collections import Counter
from typing import Callable, NamedTuple, NoReturn

from netfilter_exporter.kernel import kept_files
from netfilter_exporter.kernel.conntrack.flow import Reading
from netfilter_exporter.kernel.conntrack.flow_table import is_sparse, read_ctnetlink, read_procfs
from netfilter_exporter.kernel.conntrack.statistics import SYSCTL
from netfilter_exporter.kernel.errors import HEALTHY, NoData, ReadError
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netlink.connection import Connection

#: Looks for which ctnetlink is not asked again after it was laborious.
_REST = 60


class Look(NamedTuple):
    """A reading, and how many entries the table had meanwhile."""

    reading: Reading
    entries: int
    buckets: int | None  #: None where another size would not be seen


class Looker:
    """Reads the flow table again and again."""

    def __init__(self, paths: Paths, open_ctnetlink: Callable[[], Connection]) -> None:
        """`open_ctnetlink` raises `ReadError` where asking would load a module."""
        self._paths = paths
        self._open = open_ctnetlink
        self._rest = 0

    def look(self, size: int) -> Look:
        """Read at most `size` bytes of the table; raises `ReadError`."""
        entries, buckets = self._number("count"), self._buckets()
        if not entries:
            return Look(Reading("", (), Counter(), _no_flow, complete=True), 0, buckets)
        reading = self._read(size, sparse=buckets is None or is_sparse(entries, buckets))
        after = self._number("count")
        if self._buckets() != buckets:
            raise NoData("the hash table was resized meanwhile")
        # Entries that have expired count until they are removed, and are not shown: the smaller
        # number is the truer one.
        return Look(reading, max(min(entries, after), len(reading.keys)), buckets)

    def _read(self, size: int, *, sparse: bool) -> Reading:
        self._rest = max(self._rest - 1, 0)
        if sparse or self._rest:
            return read_procfs(self._paths, size)
        try:
            connection = self._open()
        except ReadError as error:
            if error.status not in HEALTHY:
                raise
            return read_procfs(self._paths, size)
        reading = read_ctnetlink(connection, size)
        if reading.laborious:
            self._rest = _REST
        return reading

    def _number(self, name: str) -> int:
        return kept_files.read_int(self._paths.proc(SYSCTL + name))

    def _buckets(self) -> int | None:
        try:
            return self._number("buckets")
        except NoData:  # outside the initial namespace of some kernels
            return None


def _no_flow(index: int) -> NoReturn:
    raise IndexError(index)
