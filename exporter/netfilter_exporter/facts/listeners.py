"""Facts about the programs of this host to which rules send connections."""

from __future__ import annotations

import contextlib
import enum
import math

from netfilter_exporter.facts.snapshot import Host, Snapshot, kept
from netfilter_exporter.kernel.errors import NoData
from netfilter_exporter.kernel.listeners import read_listeners
from netfilter_exporter.rules.listening import Listener, Listening

_DAY = 86400.0
#: Seconds until sockets are read again. On 6.18 it took 2 ms up to one that was found (the kernel
#: goes over a hash table), 9 ms up to the last one, 16 ms with 50 000 of another namespace.
_AGE = 300.0


class Heard(enum.Enum):
    """Whether a program listens."""

    NOW = enum.auto()
    LOST = enum.auto()  #: one did within the last day, while this process ran
    NEVER = enum.auto()  #: as far as this process knows


class HeardPorts:
    """When a program was last seen to listen where a rule needs one, on the system's clock."""

    def __init__(self) -> None:
        #: By protocol: when all were read, and these; None where they cannot be read.
        self._all: dict[int, tuple[float, list[Listener] | None]] = {}
        self._heard: dict[Listening, float] = {}

    def of(self, snapshot: Snapshot, wanted: Listening) -> Heard:
        """Return whether a program listens for what a rule matches; raises `ReadError`."""
        now = snapshot.system.clock()
        if wanted in self._heard and now - self._heard[wanted] < _AGE:
            return Heard.NOW
        if self._is_heard(snapshot, wanted, now):
            self._heard[wanted] = now
            return Heard.NOW
        self._heard = {key: at for key, at in self._heard.items() if now - at < _DAY}
        return Heard.LOST if wanted in self._heard else Heard.NEVER

    def _is_heard(self, snapshot: Snapshot, wanted: Listening, now: float) -> bool:
        protocol = wanted.protocol
        read_at, known = self._all.get(protocol, (-math.inf, None))
        if now - read_at >= _AGE:
            self._all[protocol] = now, None
            known = []
            with contextlib.closing(read_listeners(snapshot.paths, protocol)) as listeners:
                for listener in listeners:
                    if wanted.is_heard_by(listener):
                        del self._all[protocol]  # the others may be there, too
                        return True
                    known.append(listener)
            self._all[protocol] = now, known
        if known is None:
            raise NoData("sockets could not be read")
        return any(map(wanted.is_heard_by, known))


@kept
def heard_ports(_: Host) -> HeardPorts:
    """Return what is known of the ports to which rules send connections."""
    return HeardPorts()
