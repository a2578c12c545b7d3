"""Compares readings of the flow table, and keeps the account of what was born."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

from netfilter_exporter.flows.births import Birth, Class, Ledger
from netfilter_exporter.flows.networks import Networks
from netfilter_exporter.flows.panel import Change, Panel, compare, panel
from netfilter_exporter.flows.ports import PortsInUse
from netfilter_exporter.flows.scope import AskRoute, Classifier, Routes, Scope
from netfilter_exporter.kernel.conntrack.flow import Kind, Reading
from netfilter_exporter.kernel.conntrack.flow_table import SAMPLE_SIZE
from netfilter_exporter.kernel.route import Route
from netfilter_exporter.rules.families import Family

#: Births of one look that are judged; they stand for the others.
_JUDGED = 256


@dataclasses.dataclass(frozen=True)
class Settings:
    """How often to look, at how much, and what counts as outbound."""

    interval: float = 15.0  #: seconds between two looks, at least
    sample_size: int = SAMPLE_SIZE  #: bytes of the table, at most
    cpu_share: float = 0.005  #: part of one CPU that looks may take: the interval grows with cost
    networks: Networks = dataclasses.field(default_factory=Networks)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What looks have found so far."""

    at: float  #: of the last look, on the monotonic clock
    timestamp: float  #: the same, in seconds since the epoch
    entries: int  #: that the last look saw
    flows: Mapping[Kind, float]  #: estimated for the whole table
    births: Mapping[Class, float]  #: since the exporter started, estimated
    waiting: Mapping[Class, float]  #: births that no reply was seen of yet, estimated
    sampled: Mapping[tuple[Family, Scope], int]  #: births whose reply is known
    sources: Mapping[Class, int]  #: distinct sources of outbound births, of two minutes
    ports: Sequence[PortsInUse] = ()  #: of translated addresses


class Observer:
    """Compares each reading with the one before, and judges what was born."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._classifier = Classifier(networks)
        self._ledger = Ledger()
        self._before: Panel | None = None

    def configure(self, networks: Networks) -> None:
        """Classify by `networks` from now on."""
        if networks != self._networks:
            self._networks = networks
            self._classifier = Classifier(networks)

    def forget(self) -> None:
        """Start the panel again with the next reading."""
        self._before = None

    def observe(self, reading: Reading, entries: int, routes: Routes, now: float) -> Sample:
        """Take in a reading of a table that holds so many `entries`; `now` is monotonic."""
        change = compare(self._before, reading) if self._before else None
        self._before = panel(reading)
        self._ledger.settle(_replied(reading, self._ledger.waiting), now)
        if change:
            once = routes._replace(to=_asked_once(routes.to))
            self._judge(reading, change, entries, once, now)
        scale = 1.0 if reading.complete else max(entries / max(len(reading.keys), 1), 1.0)
        return Sample(
            at=now,
            timestamp=time.time(),
            entries=len(reading.keys),
            flows={kind: number * scale for kind, number in reading.census.items()},
            births=dict(self._ledger.estimated),
            waiting=self._ledger.unsettled(),
            sampled=dict(self._ledger.sampled),
            sources=self._ledger.sources(),
        )

    def _judge(
        self, reading: Reading, change: Change, entries: int, routes: Routes, now: float
    ) -> None:
        births = change.births[:: -(-len(change.births) // _JUDGED) or 1]
        weight = len(change.births) / len(births) if births else 1.0
        if not change.complete:
            weight *= max(entries / change.region, 1.0)
        for index in births:
            flow = reading.flow(index)
            scope = self._classifier.scope(flow, routes)
            self._ledger.add(reading.keys[index], Birth(flow, scope, weight, now))


def _replied(reading: Reading, wanted: frozenset[bytes]) -> Mapping[bytes, bool]:
    """Return whether each of the `wanted` flows that a reading holds was answered."""
    found = {}
    if wanted:
        for index, key in enumerate(reading.keys):
            if key in wanted:
                found[key] = reading.flow(index).kind.answered
    return found


def _asked_once(ask: AskRoute) -> AskRoute:
    """Return `ask` for the time of one look, in which no route is looked up twice."""
    answers: dict[bytes, Route | None] = {}

    def answer(address: bytes) -> Route | None:
        if address not in answers:
            answers[address] = ask(address)
        return answers[address]

    return answer
