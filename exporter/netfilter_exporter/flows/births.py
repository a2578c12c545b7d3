"""Births, judged: in which scope, translated or not, answered or not.

A birth that was answered when it was first seen is counted at once. Any other is counted when it
was seen again, at least 3 s later: until then an answer, or what acknowledges it, may be under way.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from netfilter_exporter.flows.scope import Scope
from netfilter_exporter.kernel.conntrack.flow import Flow, Translated
from netfilter_exporter.rules.families import Family

#: Seconds after which a flow without a reply is unanswered.
PATIENCE = 3.0

#: Seconds for which the sources of births count.
WINDOW = 120.0

#: Sources of unanswered flows to one destination that count: a dead server, or a flood, is no
#: evidence of a fault here.
SOURCES_OF_ONE_DESTINATION = 2

#: Where a missing reply means something: other UDP is often one-way (syslog, statsd, NetFlow).
_ANSWERED_PROTOCOLS = {"tcp", "icmp"}
_ANSWERED_UDP_PORTS = {53, 123, 443}

#: Births that are remembered for their sources, of each class and each look.
_REMEMBERED = 128


class Replied(enum.Enum):
    """Whether a flow was answered; the value is the `replied` label."""

    YES = "yes"
    NO = "no"
    #: It ended before it was seen again, or its protocol needs no answer.
    UNKNOWN = "unknown"

    __hash__ = object.__hash__  # as of Family


class Class(NamedTuple):
    """What births are counted by."""

    family: Family
    scope: Scope
    translated: Translated
    replied: Replied


class Birth(NamedTuple):
    """A new flow, and how many it stands for."""

    flow: Flow
    scope: Scope
    weight: float
    seen: float  #: when it was first seen, on a monotonic clock


class _Witness(NamedTuple):
    at: float
    class_: Class
    source: bytes
    destination: bytes


class Ledger:
    """Counts births; not for several threads."""

    def __init__(self) -> None:
        self.estimated: dict[Class, float] = {}  #: births, by what was judged
        self.sampled: Counter[tuple[Family, Scope]] = Counter()  #: births of a known reply
        self._waiting: dict[bytes, Birth] = {}  #: those without a reply, by key
        self._witnesses: list[_Witness] = []
        self._remembered: Counter[Class] = Counter()  #: of them those of the present look

    @property
    def waiting(self) -> frozenset[bytes]:
        """The keys of the births whose reply is awaited."""
        return frozenset(self._waiting)

    def settle(self, replied: Mapping[bytes, bool], now: float) -> None:
        """Begin a look: judge births that were awaited; `replied` holds those still seen."""
        self._witnesses = [w for w in self._witnesses if w.at > now - WINDOW]
        self._remembered.clear()
        for key, birth in list(self._waiting.items()):
            verdict = _verdict(birth, replied.get(key), now)
            if verdict is not None:
                self._count(birth, verdict, now)
                del self._waiting[key]

    def add(self, key: bytes, birth: Birth) -> None:
        """Take up a birth of this look."""
        if birth.flow.kind.answered:
            self._count(birth, Replied.YES, birth.seen)
        else:
            self._waiting[key] = birth

    def unsettled(self) -> dict[Class, float]:
        """Return the births whose reply is awaited, as if none came."""
        found: dict[Class, float] = {}
        for birth in self._waiting.values():
            class_ = _class(birth, Replied.NO)
            found[class_] = found.get(class_, 0.0) + birth.weight
        return found

    def sources(self) -> Counter[Class]:
        """Return the distinct sources of the outbound births judged within WINDOW.

        Each source counts once, in the class of its latest birth.
        """
        latest = {witness.source: witness.class_ for witness in self._witnesses}
        towards: dict[bytes, set[bytes]] = {}
        for _, class_, source, destination in self._witnesses:
            if latest[source] == class_:
                towards.setdefault(source, set()).add(destination)
        found: Counter[Class] = Counter()
        room: Counter[bytes] = Counter()
        # Those with the fewest destinations first, so that most find room.
        for source, destinations in sorted(towards.items(), key=lambda each: len(each[1])):
            if latest[source].replied is not Replied.NO or _takes(room, destinations):
                found[latest[source]] += 1
        return found

    def _count(self, birth: Birth, replied: Replied, now: float) -> None:
        flow = birth.flow
        class_ = _class(birth, replied)
        self.estimated[class_] = self.estimated.get(class_, 0.0) + birth.weight
        if replied is Replied.UNKNOWN:
            return
        self.sampled[class_.family, class_.scope] += 1
        if birth.scope is Scope.OUTBOUND and self._remembered[class_] < _REMEMBERED:
            self._remembered[class_] += 1
            self._witnesses.append(_Witness(now, class_, flow.source, flow.destination))


def _takes(room: Counter[bytes], destinations: set[bytes]) -> bool:
    """Count a source for one of its destinations, if one has room for it."""
    for destination in destinations:
        if room[destination] < SOURCES_OF_ONE_DESTINATION:
            room[destination] += 1
            return True
    return False


def _class(birth: Birth, replied: Replied) -> Class:
    return Class(birth.flow.kind.family, birth.scope, birth.flow.translated, replied)


def _verdict(birth: Birth, replied: bool | None, now: float) -> Replied | None:
    """Return what came of a birth that was awaited; None while an answer may be under way."""
    if replied is None:
        return Replied.UNKNOWN
    if replied:
        return Replied.YES
    if now - birth.seen < PATIENCE:
        return None
    return Replied.NO if _needs_reply(birth.flow) else Replied.UNKNOWN


def _needs_reply(flow: Flow) -> bool:
    protocol = flow.kind.protocol
    return protocol in _ANSWERED_PROTOCOLS or (
        protocol == "udp" and flow.port in _ANSWERED_UDP_PORTS
    )
