"""How many ports of a translated address are in use towards its most used destination.

The kernel needs each (protocol, translated address, port, destination, its port) to be unique, so
ports run out for single destinations. A sample shows which. Where it does not hold the whole
table, and ports may be getting scarce, they are counted: by a dump that the kernel filters, or
where that would delay packets, in /proc/net/nf_conntrack. So they are where the sample is too small
to show that a small range is half in use. Such a count is of all destinations of a source, and
holds until the next one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Callable, NamedTuple

from netfilter_exporter.flows.look import Look
from netfilter_exporter.kernel.conntrack.flow import PortUse, Source, Towards
from netfilter_exporter.kernel.conntrack.port_count import Range
from netfilter_exporter.kernel.errors import ReadError, Unsupported

#: Destinations that are looked at in a sample, and so addresses that are reported, at most.
ADDRESSES = 32
#: Destinations that are counted in one look by a dump each, and from which part of the range on.
_COUNTED, _SCARCE = 4, 0.5
#: Destinations of a sample whose sources may be counted in a list.
_LISTED = 512
#: Flows that a sample should have of a destination that uses that part: it has more than one of
#: them in 999 of 1 000 samples, and of fewer the sample may lack the most used destination.
_SHOWS = 10
#: Seconds of CPU that counting takes in so many seconds, whenever they begin. With what looks cost
#: that count nothing, that is less than 100 ms a minute.
_BUDGET, _WINDOW = 0.75, 600.0
#: Sampled flows from which ports may be counted, and from which an estimate is served, below that
#: part of the range and above: with 400, 95 % are within a tenth of the truth.
_LEAST, _FEW, _MANY = 2, 50, 400
#: Seconds of CPU for each entry and each bucket that a filtered dump goes over, entries in one of
#: its datagrams, and how long packets may wait for one: softirqs are off meanwhile.
_PER_ENTRY, _PER_BUCKET, _IN_DATAGRAM, _LONGEST = 0.5e-6, 0.2e-6, 140, 0.010
#: Seconds of CPU for each entry that is listed.
_PER_LISTED = 3e-6


class PortsInUse(NamedTuple):
    """The ports of one translated address in use towards its most used destination."""

    towards: Towards
    used: float
    range: Range

    @property
    def size(self) -> int:
        """The number of ports in the range."""
        return _size(self.range)

    @property
    def is_scarce(self) -> bool:
        return self.used >= _SCARCE * self.size


#: Returns the ports that rules leave to a source, None where that is unknown.
PortsOf = Callable[[Source], "Range | None"]
#: Counts the ports in use in a range by a filtered dump; raises `ReadError`.
CountPorts = Callable[[Towards, Range], int]
#: Counts those of the most used destination of each source in what is listed; raises `ReadError`.
CountListed = Callable[[Mapping[Source, Range]], Mapping[Source, "tuple[Towards, int]"]]


class _Count(NamedTuple):
    ports: int
    estimate: float  #: at that time


class PortWatch:
    """Finds them in each look; not for several threads."""

    def __init__(
        self,
        ports_of: PortsOf,
        count: CountPorts,
        count_listed: CountListed,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._ports_of = ports_of
        self._count = count
        self._count_listed = count_listed
        self._clock = clock
        self._known: dict[Towards, _Count] = {}
        self._listed: dict[Source, PortsInUse] = {}
        self._next = 0.0  #: when counting may go on, on a monotonic clock
        self._supported = True
        self._left = 0
        self._began = self._dearest = 0.0  #: CPU time: when this look began, and of one count

    def take(self, look: Look, now: float) -> list[PortsInUse]:
        """Return those of a look; `now` is monotonic."""
        self._left = _COUNTED if now >= self._next else 0
        self._began, self._dearest = self._clock(), 0.0
        if self._left or look.reading.complete:
            self._listed = self._list(look)
        found: dict[Source, PortsInUse] = {}
        for each in self._uses(look):
            source = each.towards.source
            if source not in found or each.used > found[source].used:
                found[source] = each
        if self._dearest:
            self._next = now + _rest(self._clock() - self._began)
        return sorted(found.values(), key=lambda each: -each.used / each.size)[:ADDRESSES]

    def _uses(self, look: Look) -> Iterator[PortsInUse]:
        counted: dict[Towards, _Count] = {}
        listed = {
            source: each
            for source, each in self._listed.items()
            if each.range == self._ports_of(source)
        }
        yield from listed.values()
        fewest = 1 if look.reading.complete else _LEAST
        for use in look.reading.port_use(ADDRESSES, fewest):
            source = use.towards.source
            ports = self._ports_of(source)
            if ports is None or source in listed:
                continue
            used = self._used(look, use, ports, counted)
            if used is not None:
                yield PortsInUse(use.towards, used, ports)
        self._known = counted

    def _used(
        self, look: Look, use: PortUse, ports: Range, counted: dict[Towards, _Count]
    ) -> float | None:
        sampled = _sampled(use, ports)
        if look.reading.complete:
            return sampled
        estimate = sampled * _scale(look)
        known = None
        if _may_be_scarce(look, sampled, ports) and not self._is_to_be_listed(look, estimate):
            known = self._count_once(look, use.towards, ports, estimate)
        if known:
            counted[use.towards] = known
            follows = estimate / known.estimate if sampled >= _FEW else 1.0
            return min(known.ports * follows, _size(ports))
        enough = _FEW if estimate < _SCARCE * _size(ports) else _MANY
        return estimate if sampled >= enough else None

    def _count_once(
        self, look: Look, towards: Towards, ports: Range, estimate: float
    ) -> _Count | None:
        """Return a count of now if one may be made, else the one before."""
        if not self._may_count(look, listed=False):
            return self._known.get(towards)
        self._left -= 1
        began = self._clock()
        try:
            return _Count(self._count(towards, ports), estimate)
        except Unsupported:
            self._supported = False
        except ReadError:  # the estimate may do
            pass
        finally:
            self._dearest = max(self._dearest, self._clock() - began)
        return None

    def _list(self, look: Look) -> dict[Source, PortsInUse]:
        """Return counts of now of what may be scarce, or was by the last count."""
        if look.reading.complete or not self._may_count(look, listed=True):
            return {}
        wanted = dict(self._uncertain(look))
        if not wanted:
            return {}
        began = self._clock()
        try:
            counts = self._count_listed(wanted)
        except ReadError:  # estimates may do
            return {}
        finally:
            self._dearest = max(self._dearest, self._clock() - began)
        return {
            source: PortsInUse(towards, number, wanted[source])
            for source, (towards, number) in counts.items()
        }

    def _uncertain(self, look: Look) -> Iterator[tuple[Source, Range]]:
        """Yield what may be scarce, or was, and cannot be counted by a dump."""
        for source, each in self._listed.items():
            ports = self._ports_of(source)
            if ports and each.is_scarce:
                yield source, ports
        for use in look.reading.port_use(_LISTED, 1):
            source = use.towards.source
            ports = self._ports_of(source)
            if ports and self._needs_a_list(look, _sampled(use, ports), ports):
                yield source, ports

    def _needs_a_list(self, look: Look, sampled: int, ports: Range) -> bool:
        if _SCARCE * _size(ports) < _SHOWS * _scale(look):
            return True
        estimate = sampled * _scale(look)
        return _may_be_scarce(look, sampled, ports) and self._is_to_be_listed(look, estimate)

    def _is_to_be_listed(self, look: Look, estimate: float) -> bool:
        return not self._supported or _delays(look, estimate)

    def _may_count(self, look: Look, *, listed: bool) -> bool:
        if self._left <= 0 or (listed and look.entries * _PER_LISTED > _BUDGET):
            return False
        return self._clock() - self._began + self._dearest <= _BUDGET


def _size(ports: Range) -> int:
    return ports[1] - ports[0] + 1


def _sampled(use: PortUse, ports: Range) -> int:
    return sum(ports[0] <= port <= ports[1] for port in use.ports)


def _scale(look: Look) -> float:
    return look.entries / max(len(look.reading.keys), 1)


def _may_be_scarce(look: Look, sampled: int, ports: Range) -> bool:
    """Return whether so many sampled flows may stand for half of the range."""
    most = (sampled + 2 * sampled**0.5) * _scale(look)
    return sampled >= _LEAST and most >= _SCARCE * _size(ports)


def _delays(look: Look, estimate: float) -> bool:
    """Return whether packets would wait for a dump of so many entries."""
    if look.buckets is None:
        return True
    walk = look.entries * _PER_ENTRY + look.buckets * _PER_BUCKET
    return walk / max(estimate / _IN_DATAGRAM, 1.0) > _LONGEST


def _rest(cost: float) -> float:
    """Return the seconds after a look of that cost until the next one may count.

    So many looks as the budget holds are spread over a window. To rest for the cost in proportion
    is too short: a window that begins with a look may end with another.
    """
    looks = _BUDGET // cost
    return _WINDOW / looks if looks else _WINDOW * cost / _BUDGET
