"""Runs the collectors: one after the other, each isolated, each with a deadline."""

from __future__ import annotations

import collections
import dataclasses
import logging
import queue
import threading
import time
from collections.abc import Collection, Iterable

from netfilter_exporter.collectors.base import SERIES_LIMIT, Collector, Metric, Sample
from netfilter_exporter.kernel.errors import HEALTHY, ReadError, Status, TimedOut, worst
from netfilter_exporter.snapshot import Host, Snapshot

_log = logging.getLogger(__name__)

#: Seconds for one collector, and for all of them: Prometheus waits ten by default.
COLLECTOR_TIMEOUT = 3.0
PAGE_TIMEOUT = 8.0

Samples = tuple[Sample, ...]


@dataclasses.dataclass
class Outcome:
    """What one collector gave in one scrape."""

    families: list[tuple[Metric[Snapshot], Samples]] = dataclasses.field(default_factory=list)
    omitted: dict[str, int] = dataclasses.field(default_factory=dict)  #: by full metric name
    errors: list[ReadError] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def status(self) -> Status:
        """The worst of what was met; a proof that proves nothing is told by its source alone."""
        return worst([error for error in self.errors if error.status is not Status.INCONCLUSIVE])

    @property
    def success(self) -> bool:
        return self.status in HEALTHY


@dataclasses.dataclass(frozen=True)
class Run:
    """One scrape: its facts, and what each collector made of them, by collector name."""

    snapshot: Snapshot
    outcomes: dict[str, Outcome]


class Gatherer:
    """Runs collectors on a host, one collection at a time."""

    def __init__(self, host: Host, options: Collection[str] = ()) -> None:
        self._host = host
        self._options = options
        self._hung: dict[str, threading.Thread] = {}

    def gather(self, collectors: Iterable[Collector]) -> Run:
        """Run `collectors` on a fresh snapshot.

        They share one thread. When one of them overruns its time, that thread is left behind,
        the others go on in a new one, and it is not started again before it has come back.
        """
        page_end = time.monotonic() + PAGE_TIMEOUT
        run = Run(self._host.snapshot(PAGE_TIMEOUT), {})
        pending = collections.deque(collectors)
        while pending:
            worker = _Worker(run.snapshot, tuple(pending), self._options, self._busy())
            worker.start()
            while pending:
                name = pending.popleft().name
                patience = min(COLLECTOR_TIMEOUT, max(page_end - time.monotonic(), 0))
                try:
                    run.outcomes[name] = worker.results.get(timeout=patience)
                except queue.Empty:
                    worker.abandoned = True
                    self._hung[name] = worker
                    run.outcomes[name] = _timed_out(name, patience)
                    break
        if not self._busy():
            run.snapshot.close()
        return run

    def _busy(self) -> frozenset[str]:
        self._hung = {name: thread for name, thread in self._hung.items() if thread.is_alive()}
        return frozenset(self._hung)


class _Worker(threading.Thread):
    """Runs collectors and puts their outcomes, in order, into `results`."""

    def __init__(
        self,
        snapshot: Snapshot,
        collectors: tuple[Collector, ...],
        options: Collection[str],
        busy: frozenset[str],
    ) -> None:
        super().__init__(name="collect", daemon=True)
        self._snapshot = snapshot
        self._collectors = collectors
        self._options = options
        self._busy = busy
        self.results: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self.abandoned = False

    def run(self) -> None:
        for collector in self._collectors:
            if collector.name in self._busy:
                self.results.put(_timed_out(collector.name, 0))
            else:
                self.results.put(collect(collector, self._snapshot, self._options))
            if self.abandoned:
                return


def _timed_out(name: str, seconds: float) -> Outcome:
    error = TimedOut(f"collector {name}: no end after {seconds:.1f} s, or still not back from it")
    _log.error("%s", error)
    return Outcome(errors=[error], seconds=seconds)


def collect(collector: Collector, snapshot: Snapshot, options: Collection[str] = ()) -> Outcome:
    """Run one collector; what one of its rows meets never keeps the others from being served."""
    started = time.perf_counter()
    outcome = Outcome()
    for metric in collector.metrics:
        if (metric.option and metric.option not in options) or metric.unless in options:
            continue
        samples: list[Sample] = []
        try:
            for sample in metric.samples(snapshot):
                samples.append(sample)  # noqa: PERF402 - extend() would lose them at an exception
        except ReadError as error:
            outcome.errors.append(error)
        except Exception as error:  # a defect of ours must not take the page down
            _log.exception("collector %s: metric %s", collector.name, metric.full_name)
            outcome.errors.append(ReadError(f"{metric.full_name}: {error}"))
        if metric.bounded:
            outcome.omitted[metric.full_name] = max(len(samples) - SERIES_LIMIT, 0)
            del samples[SERIES_LIMIT:]
        outcome.families.append((metric, tuple(samples)))
    outcome.seconds = time.perf_counter() - started
    return outcome
