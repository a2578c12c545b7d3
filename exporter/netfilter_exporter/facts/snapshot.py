"""What a scrape knows of the host: facts that are read on first use and at most once.

`Host` lives as long as the process and keeps what makes the next scrape cheap. A `Snapshot` is made
for one scrape, so that all collectors, and the checks, see the same facts. A fact is a function in
a file of its topic; the snapshot knows none of them.
"""

from __future__ import annotations

import copy
import threading
from typing import Any, Callable, Generic, TypeVar

from netfilter_exporter.config.model import Config
from netfilter_exporter.config.reload_status import ReloadStatus
from netfilter_exporter.kernel.background import StillReading
from netfilter_exporter.kernel.errors import ReadError, Status, TimedOut, bare, defect
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.system import System
from netfilter_exporter.sandbox.confine import Sandbox

T = TypeVar("T")


class Fact(Generic[T]):
    """A reading of the host; calling it with a `Snapshot` returns the value of that scrape.

    Raises the `ReadError` of the reading, one like it at each call.
    """

    def __init__(self, read: Callable[[Snapshot], T], source_rank: int | None = None) -> None:
        self.read = read
        self.name = read.__name__
        self.source_rank = source_rank
        self.__doc__ = read.__doc__

    def __call__(self, snapshot: Snapshot) -> T:
        values = snapshot.values
        if self in values:
            value: T = values[self]
            return value
        return snapshot.read(self)

    def __repr__(self) -> str:
        return f"<fact {self.name}>"


def fact(read: Callable[[Snapshot], T]) -> Fact[T]:
    """Make a function that reads the host a `Fact`."""
    return Fact(read)


def source(rank: int) -> Callable[[Callable[[Snapshot], T]], Fact[T]]:
    """Make it a fact with a status on the page: one that fails apart from its collector.

    The name of the function is the value of the label `source`; the statuses are in the order of
    `rank`.
    """
    return lambda read: Fact(read, rank)


class Kept(Generic[T]):
    """What a topic keeps of the host from one scrape to the next; made on first use."""

    def __init__(self, make: Callable[[Host], T], *, of_config: bool = False) -> None:
        self.make = make
        self.of_config = of_config

    def __call__(self, host: Host) -> T:
        store = host.kept_of_config if self.of_config else host.kept
        if self not in store:
            store[self] = self.make(host)
        value: T = store[self]
        return value


def kept(make: Callable[[Host], T]) -> Kept[T]:
    """Keep what `make` returns for the life of the process."""
    return Kept(make)


def kept_of_config(make: Callable[[Host], T]) -> Kept[T]:
    """Keep what `make` returns until the configuration is another."""
    return Kept(make, of_config=True)


class Host:
    """The host, its configuration, and what the topics keep of it."""

    def __init__(
        self,
        system: System,
        config: Config = Config(),  # noqa: B008 - frozen
        reload_status: ReloadStatus | None = None,
        sandbox: Sandbox | None = None,
    ) -> None:
        """`reload_status` says how the last reload went, where configurations are reloaded.

        `sandbox` says what this process has given up, where it was asked to.
        """
        self.system = system
        self.config = config
        self.reload_status = reload_status
        self.sandbox = sandbox
        self.kept: dict[Kept[Any], Any] = {}
        self.kept_of_config: dict[Kept[Any], Any] = {}

    def configured(self, config: Config) -> Host:
        """Return the same host, with all that is kept of it, under another configuration."""
        host = copy.copy(self)
        host.config = config
        host.kept_of_config = {}
        return host

    def snapshot(self, timeout: float, patience: float | None = None) -> Snapshot:
        """Return a fresh snapshot, whose netlink requests together take at most `timeout` s.

        For readings that go on without it, it waits at most `patience` s.
        """
        return Snapshot(
            self, self.system.clock() + timeout, timeout if patience is None else patience
        )


class Snapshot:
    """The facts of one scrape; `deadline` is on the system's clock."""

    def __init__(self, host: Host, deadline: float, patience: float) -> None:
        self.host = host
        self.system = host.system
        self.paths = host.system.paths
        self.deadline = deadline
        self._patience = patience
        self.waits_until = 0.0  #: when it ends to wait, once it has begun
        self.values: dict[Fact[Any], Any] = {}
        self.errors: dict[Fact[Any], ReadError] = {}  #: of the facts that could not be read
        #: By thread and protocol: a thread that was left behind in a dump still receives.
        self._connections: dict[tuple[int, int], Connection] = {}

    def read(self, fact: Fact[T]) -> T:
        """Read a fact that has no value yet; raise its `ReadError` again if reading failed."""
        errors = self.errors
        if fact not in errors:
            # Whoever asks while it is being read asks behind a reader that hangs.
            errors[fact] = TimedOut(f"{fact.name}: still being read")
            try:
                value = self.values[fact] = fact.read(self)
            except ReadError as error:
                errors[fact] = bare(error)
            except Exception as error:  # a defect of ours must not take the page down
                errors[fact] = defect(fact.name, error)
            else:
                del errors[fact]
                return value
        raise bare(errors[fact])

    def patience(self) -> float:
        """Return the seconds that are left to wait for readings that go on without this scrape."""
        now = self.system.clock()
        if not self.waits_until:
            self.waits_until = min(now + self._patience, self.deadline)
        return max(self.waits_until - now, 0.0)

    def is_early(self) -> bool:
        """Return whether it went without something that is still being read."""
        return any(isinstance(error, StillReading) for error in list(self.errors.values()))

    def connection(self, protocol: int) -> Connection:
        """Return this thread's netlink connection in this scrape, opened on first use.

        Opening NETLINK_NETFILTER loads nfnetlink where that is a module: pass a gate first.
        """
        key = threading.get_ident(), protocol
        if key not in self._connections:
            transport = self.system.netlink(protocol)
            self._connections[key] = Connection(transport, self.deadline, self.system.clock)
        return self._connections[key]

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def source_status(self) -> dict[str, Status]:
        """Return the status of each source that was read, by name."""
        found = dict.fromkeys(self.values, Status.OK)
        # A thread that was left behind may go on to add errors.
        found.update({fact: error.status for fact, error in list(self.errors.items())})
        ranked = [(f.source_rank, f.name, s) for f, s in found.items() if f.source_rank is not None]
        return {name: status for _, name, status in sorted(ranked, key=lambda each: each[0])}
