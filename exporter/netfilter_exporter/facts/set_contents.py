"""What the sets hold that translating rules look into."""

from __future__ import annotations

from netfilter_exporter.facts.rulesets import generation
from netfilter_exporter.facts.snapshot import Host, Snapshot, kept
from netfilter_exporter.kernel import ipset
from netfilter_exporter.kernel.errors import ReadError, TimedOut
from netfilter_exporter.kernel.ipset import Ipset
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER
from netfilter_exporter.kernel.nft import sets
from netfilter_exporter.kernel.nft.maps import MapKey
from netfilter_exporter.kernel.nft.sets import SetContents, read_contents
from netfilter_exporter.rules.families import NFPROTO_OF, Family

#: Sets that are read of a host: of more of them nothing is known.
_MOST_SETS = 64
#: Seconds after which a set that changes by itself is read again while it holds something.
_AGE = 60.0


class _Known:
    """What was read of sets; nftables' hold while the generation of the ruleset is the same."""

    def __init__(self) -> None:
        self.generation: tuple[int, int] | None = None  #: with the life of nf_tables
        self.sets: dict[MapKey, tuple[float, SetContents | None]] = {}
        self.covers: dict[tuple[MapKey, tuple[bytes, bytes]], bool] = {}
        self.ipsets: dict[int, tuple[float, Ipset | None]] = {}


@kept
def _known(_: Host) -> _Known:
    return _Known()


class SetReader:
    """Reads the sets of one scrape, those that cannot have changed from memory; close it behind."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._known = _known(snapshot.host)
        self._now = snapshot.system.clock()
        self._is_current = False
        self._open: list[Connection] = []

    def close(self) -> None:
        for connection in self._open:
            connection.close()
        self._open.clear()

    def read(self, families: frozenset[Family], table: str, name: str) -> SetContents | None:
        """Return what a set of nftables holds; None: it is unknown."""
        self._check_generation()
        key: MapKey = ((NFPROTO_OF[families], table), name)
        known = self._known.sets
        read_at, found = known.get(key, (0.0, None))
        lasting = found is None or not found.changes
        if key in known and (lasting or (not (found and found.empty) and self._is_new(read_at))):
            return found
        if key not in known and len(known) >= _MOST_SETS:
            return None
        try:
            found = read_contents(self._connection(), key)
        except TimedOut:  # the next scrape may have the time
            return None
        except ReadError:  # it went with its rule, or may not be read
            found = None
        finally:
            self.close()  # a dump may be under way
        known[key] = self._now, found
        return found

    def covers(
        self, families: frozenset[Family], table: str, name: str, network: tuple[bytes, bytes]
    ) -> bool:
        """Return whether an interval of a set holds a network, by its first and last address.

        Of sets that change by themselves, and of sets without intervals, nothing is said.
        """
        found = self.read(families, table, name)
        if found is None or found.empty or found.changes or found.keys is not None:
            return False
        key: MapKey = ((NFPROTO_OF[families], table), name)
        known = self._known.covers
        if (key, network) not in known:
            try:
                known[key, network] = sets.covers(self._connection(), key, *network)
            except TimedOut:
                return False
            except ReadError:
                known[key, network] = False
        return known[key, network]

    def read_ipset(self, number: int) -> Ipset | None:
        """Return a set of ipset; None: it is unknown."""
        known = self._known.ipsets
        read_at, found = known.get(number, (0.0, None))
        if number in known and self._is_new(read_at) and (found is None or found.elements):
            return found
        if number not in known and len(known) >= _MOST_SETS:
            return None
        try:
            present = ipset.is_present(self._snapshot.paths)
            found = ipset.read_ipset(self._connection(), number) if present else None
        except TimedOut:
            return None
        except ReadError:
            found = None
        known[number] = self._now, found
        return found

    def _is_new(self, read_at: float) -> bool:
        return self._now - read_at < _AGE

    def _check_generation(self) -> None:
        """Forget the sets of another generation."""
        if self._is_current:
            return
        self._is_current = True
        current = generation(self._snapshot)
        if current != self._known.generation:
            self._known.generation = current
            self._known.sets.clear()
            self._known.covers.clear()

    def _connection(self) -> Connection:
        """Return a separate connection; the rules could be read, so asking loads nothing."""
        if not self._open:
            system = self._snapshot.system
            transport = system.netlink(NETLINK_NETFILTER)
            self._open.append(Connection(transport, self._snapshot.deadline, system.clock))
        return self._open[0]
