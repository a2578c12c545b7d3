"""One look at the host: facts that are read on first use and at most once.

`Host` lives as long as the process and keeps what makes the next look cheap. `Snapshot` is made
for one scrape, so that all collectors, and the checks, see the same facts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Callable, Generic, TypeVar, cast

from netfilter_exporter.kernel import capabilities, conntrack, files
from netfilter_exporter.kernel.counters import CounterMemory
from netfilter_exporter.kernel.errors import NoData, ReadError, Status, TimedOut
from netfilter_exporter.kernel.module_reader import ModuleReader
from netfilter_exporter.kernel.modules import Modules
from netfilter_exporter.kernel.netlink import Connection
from netfilter_exporter.kernel.system import System

T = TypeVar("T")
_log = logging.getLogger(__name__)

#: Facts that fail apart and have a status of their own on the page.
SOURCES = (
    "nftables",
    "legacy_ipv4",
    "legacy_ipv6",
    "probe_ipv4",
    "probe_ipv6",
    "hooks",
    "statistics",
)


class fact(Generic[T]):  # noqa: N801 - it is used like property
    """A property of a `Snapshot` that remembers its value, or the `ReadError` it met."""

    def __init__(self, read: Callable[[Snapshot], T]) -> None:
        self._read = read
        self._name = read.__name__
        self.__doc__ = read.__doc__

    def __get__(self, snapshot: Snapshot, owner: type[Snapshot] | None = None) -> T:
        outcomes = snapshot.outcomes
        if self._name not in outcomes:
            # Whoever asks while it is being read asks behind a reader that hangs.
            outcomes[self._name] = TimedOut(f"{self._name}: still being read")
            outcomes[self._name] = self._outcome(snapshot)
        outcome = outcomes[self._name]
        if isinstance(outcome, ReadError):
            raise outcome.with_traceback(None)
        return cast("T", outcome)

    def _outcome(self, snapshot: Snapshot) -> T | ReadError:
        try:
            return self._read(snapshot)
        except ReadError as error:
            return error
        except Exception as error:  # a defect of ours must not take the page down
            _log.exception("reading %s", self._name)
            return ReadError(f"{self._name}: {type(error).__name__}: {error}")


class Host:
    """The host, and what is remembered of it from one look to the next."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.conntrack_counters = CounterMemory()
        self.modules = ModuleReader(system.paths)

    def snapshot(self, timeout: float) -> Snapshot:
        """Return a fresh look, whose netlink requests together take at most `timeout` seconds."""
        return Snapshot(self, self.system.clock() + timeout)


class Snapshot:
    """The facts of one scrape; `deadline` is on the system's clock."""

    def __init__(self, host: Host, deadline: float) -> None:
        self.host = host
        self.system = host.system
        self.paths = host.system.paths
        self.deadline = deadline
        self.outcomes: dict[str, object] = {}
        self._connections: dict[int, Connection] = {}

    def connection(self, protocol: int) -> Connection:
        """Return this scrape's netlink connection, opened on first use.

        Opening NETLINK_NETFILTER loads nfnetlink where that is a module: pass a gate first.
        """
        if protocol not in self._connections:
            transport = self.system.netlink(protocol)
            self._connections[protocol] = Connection(transport, self.deadline, self.system.clock)
        return self._connections[protocol]

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def source_status(self) -> dict[str, Status]:
        """Return the status of each of SOURCES that was asked for."""
        return {name: self._status(name) for name in SOURCES if name in self.outcomes}

    def _status(self, name: str) -> Status:
        outcome = self.outcomes[name]
        return outcome.status if isinstance(outcome, ReadError) else Status.OK

    # -- connection tracking ---------------------------------------------------------------

    @fact
    def conntrack_entries(self) -> int:
        """Entries of this namespace; NoData where nf_conntrack is not in this boot."""
        return conntrack.read_entries(self.paths)

    @fact
    def conntrack_present(self) -> bool:
        """Whether the core is in this boot: the best single test, on all kernels."""
        return files.exists(self.paths.proc(conntrack.SYSCTL + "count"))

    @fact
    def conntrack_limit(self) -> int:
        """nf_conntrack_max."""
        return conntrack.read_limit(self.paths)

    @fact
    def conntrack_buckets(self) -> int:
        """nf_conntrack_buckets."""
        return conntrack.read_buckets(self.paths)

    @fact
    def conntrack_expectations_limit(self) -> int:
        """nf_conntrack_expect_max."""
        return conntrack.read_expectations_limit(self.paths)

    @fact
    def statistics(self) -> conntrack.Statistics:
        """Counters of each CPU, with wraps absorbed."""
        try:
            raw = conntrack.read_statistics(self.paths)
        except NoData:
            self.host.conntrack_counters.forget()
            raise
        return self.host.conntrack_counters.absorb(raw)

    # -- modules ---------------------------------------------------------------------------

    @fact
    def modules(self) -> Modules:
        """The kernel modules of conntrack and NAT; its `may_ask` is the gate of every question."""
        return self.host.modules.read()

    @fact
    def capabilities(self) -> Mapping[str, bool | None]:
        """Whether each capability is usable now or loadable on demand; None: cannot tell."""
        return capabilities.evaluate(self.modules)

    @fact
    def capabilities_blocked(self) -> Mapping[str, bool]:
        """Whether modprobe.d or the kernel command line stops a module of each capability."""
        return capabilities.blocked(self.modules)
