"""How many ports of a translated address are in use towards its most used destination.

The kernel needs each (protocol, translated address, port, destination, its port) to be unique, so
ports run out for single destinations. A sample shows which. Where it does not hold the whole
table, and ports may be getting scarce, they are counted: by a dump that the kernel filters, or
where that would delay packets, in /proc/net/nf_conntrack, of all such destinations at once. A
sample of a large table has two or three flows of a small range, so such a count holds until the
next one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Callable, NamedTuple

from netfilter_exporter.flows.look import Look
from netfilter_exporter.kernel.conntrack.flow import PortUse, Towards
from netfilter_exporter.kernel.conntrack.port_count import Range
from netfilter_exporter.kernel.errors import ReadError, Unsupported

#: Destinations that are looked at in a sample, and so addresses that are reported, at most.
ADDRESSES = 32
#: Destinations that are counted in one look, by a dump each or listed, and from which part of the
#: range on.
_COUNTED, _LISTED, _SCARCE = 4, 512, 0.5
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


#: Returns the ports that rules leave to a translated address, None where that is unknown.
PortsOf = Callable[[Towards], "Range | None"]
#: Counts the ports in use in a range by a filtered dump; raises `ReadError`.
CountPorts = Callable[[Towards, Range], int]
#: Counts those of several destinations in what is listed; raises `ReadError`.
CountListed = Callable[[Mapping[Towards, Range]], Mapping[Towards, int]]


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
        self._listed: dict[Towards, tuple[_Count, Range]] = {}
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
        found: dict[tuple[int, bytes], PortsInUse] = {}
        for each in self._uses(look):
            key = each.towards.protocol, each.towards.address
            if key not in found or each.used > found[key].used:
                found[key] = each
        if self._dearest:
            self._next = now + _rest(self._clock() - self._began)
        return sorted(found.values(), key=lambda each: -each.used / each.size)

    def _uses(self, look: Look) -> Iterator[PortsInUse]:
        counted: dict[Towards, _Count] = {}
        fewest = 1 if look.reading.complete else _LEAST
        listed = dict(self._listed)
        for use in look.reading.port_use(ADDRESSES, fewest):
            ports = self._ports_of(use.towards)
            if ports is None:
                continue
            listed.pop(use.towards, None)
            used = self._used(look, use, ports, counted)
            if used is not None:
                yield PortsInUse(use.towards, used, ports)
        self._known = counted
        for towards, (known, ports) in listed.items():
            if self._ports_of(towards) == ports:
                yield PortsInUse(towards, known.ports, ports)

    def _used(
        self, look: Look, use: PortUse, ports: Range, counted: dict[Towards, _Count]
    ) -> float | None:
        sampled = _sampled(use, ports)
        if look.reading.complete:
            return sampled
        estimate = sampled * _scale(look)
        known = None
        if use.towards in self._listed:
            known = self._listed[use.towards][0]
        elif _may_be_scarce(look, sampled, ports) and not self._is_to_be_listed(look, estimate):
            known = self._count_once(look, use.towards, ports, estimate)
            if known:
                counted[use.towards] = known
        if known:
            follows = estimate / known.estimate if known.estimate and sampled >= _FEW else 1.0
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

    def _list(self, look: Look) -> dict[Towards, tuple[_Count, Range]]:
        """Return counts of now of what may be scarce, or was by the last count."""
        if look.reading.complete or not self._may_count(look, listed=True):
            return {}
        estimates = {
            towards: 0.0
            for towards, (known, ports) in self._listed.items()
            if known.ports >= _SCARCE * _size(ports)
        }
        estimates.update(self._uncertain(look))
        ranges = {towards: self._ports_of(towards) for towards in estimates}
        wanted = {towards: ports for towards, ports in ranges.items() if ports}
        if not wanted:
            return {}
        began = self._clock()
        try:
            counts = self._count_listed(wanted)
        except ReadError:  # estimates may do
            return {}
        finally:
            self._dearest = max(self._dearest, self._clock() - began)
        most: dict[tuple[int, bytes], int] = {}
        for towards, number in counts.items():
            key = towards.protocol, towards.address
            most[key] = max(most.get(key, 0), number)
        return {
            towards: (_Count(number, estimates[towards]), wanted[towards])
            for towards, number in counts.items()
            if number >= most[towards.protocol, towards.address]
            or number >= _SCARCE * _size(wanted[towards])
        }

    def _uncertain(self, look: Look) -> Iterator[tuple[Towards, float]]:
        """Yield what may be scarce and cannot be counted by a dump, and its estimate."""
        for use in look.reading.port_use(_LISTED, _LEAST):
            ports = self._ports_of(use.towards)
            sampled = _sampled(use, ports) if ports else 0
            estimate = sampled * _scale(look)
            scarce = ports and _may_be_scarce(look, sampled, ports)
            if scarce and self._is_to_be_listed(look, estimate):
                yield use.towards, estimate

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
