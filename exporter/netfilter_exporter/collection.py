"""Runs the collectors: one after the other, each isolated, each with a deadline."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import queue
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Callable

from netfilter_exporter.collectors.base import Collector, Metric, Sample
from netfilter_exporter.facts.snapshot import Host, Snapshot, kept_of_config
from netfilter_exporter.kernel.background import READING_TIMEOUT
from netfilter_exporter.kernel.errors import (
    HEALTHY,
    ReadError,
    Status,
    TimedOut,
    bare,
    defect,
    worst,
)

_log = logging.getLogger(__name__)

#: Seconds for one collector, and for all of them: Prometheus waits ten by default.
COLLECTOR_TIMEOUT = 3.0
PAGE_TIMEOUT = 8.0
#: Seconds, and part of its time, that a page waits at most for what is read in the background, and
#: seconds for the collector that waited to go on without it.
PATIENCE, PATIENT_SHARE, AFTER_WAITING = 5.0, 0.75, 0.5

_LEVELS = {
    Status.ERROR: logging.ERROR,
    Status.TIMEOUT: logging.ERROR,
    Status.DENIED: logging.WARNING,
}

Samples = tuple[Sample, ...]


@dataclasses.dataclass
class Outcome:
    """What one collector gave in one scrape."""

    families: list[tuple[Metric[Snapshot], Samples]] = dataclasses.field(default_factory=list)
    omitted: dict[str, int] = dataclasses.field(default_factory=dict)  #: by full metric name
    errors: list[ReadError] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    left_behind: bool = False  #: it hangs in a thread that may go on to use the snapshot

    @property
    def status(self) -> Status:
        """The worst of what was met; only its source reports a proof that proves nothing."""
        return worst([error for error in self.errors if error.status is not Status.INCONCLUSIVE])

    @property
    def success(self) -> bool:
        return self.status in HEALTHY


@dataclasses.dataclass(frozen=True)
class Run:
    """One scrape: its facts, and what each collector made of them, by collector name."""

    snapshot: Snapshot
    outcomes: dict[str, Outcome]

    def close(self) -> None:
        """Close what was opened, unless a thread that was left behind may still use it."""
        if not any(outcome.left_behind for outcome in self.outcomes.values()):
            self.snapshot.close()


class Gatherer:
    """Runs collectors on a host, one collection after the other."""

    def __init__(self, host: Host, options: Collection[str] = ()) -> None:
        self._setting = host, options
        self._worker: _Worker | None = None
        self._hung: dict[str, _Worker] = {}
        self._error_log = ErrorLog()

    def reconfigure(self, host: Host, options: Collection[str]) -> None:
        """Use these from the next collection on; the one that is under way keeps its own."""
        self._setting = host, options

    def gather(self, collectors: Iterable[Collector], timeout: float = PAGE_TIMEOUT) -> Run:
        """Run `collectors` on a fresh snapshot, for at most `timeout` seconds."""
        ended: queue.SimpleQueue[Run] = queue.SimpleQueue()
        gathering = self.begin(collectors, timeout, ended.put)
        while (patience := gathering.supervise()) is not None:
            with contextlib.suppress(queue.Empty):
                return ended.get(timeout=patience)
        return ended.get()

    def gather_whole(self, collectors: Collection[Collector]) -> Run:
        """Run `collectors`, and again while rules are being read: for whoever has one page."""
        end = time.monotonic() + READING_TIMEOUT
        run = self.gather(collectors)
        while run.snapshot.is_early() and time.monotonic() < end:
            run = self.gather(collectors)
        return run

    def begin(
        self, collectors: Iterable[Collector], timeout: float, done: Callable[[Run], None]
    ) -> Gathering:
        """Begin to run `collectors`, when what was begun before is done.

        They share one thread, which is kept, and which calls `done` in the end: to hand over to
        another thread, and so to another processor's cache, costs a fifth of a scrape. Whoever
        begins has to supervise.
        """
        self._hung = {name: hung for name, hung in self._hung.items() if hung.is_alive()}
        gathering = Gathering(self, self._setting, collectors, timeout, done)
        self._worker = self._worker or _Worker()
        gathering.hand_over(self._worker)
        return gathering

    def is_hung(self, collector: Collector) -> bool:
        """Return whether `collector` was given up and is not back yet: it is not started again."""
        return collector.name in self._hung

    def give_up(self, collector: Collector) -> _Worker:
        """Leave the thread behind in which `collector` hangs; return another."""
        another = _Worker()
        if self._worker:
            self._hung[collector.name] = self._worker
        self._worker = another
        return another

    def end(self, run: Run) -> None:
        """Let go of what a collection has opened, and log what is new."""
        run.close()
        self._error_log.update(run.outcomes)

    def close(self) -> None:
        """End the thread."""
        if self._worker:
            self._worker.tasks.put(None)
            self._worker = None


class Gathering:
    """A collection under way: run by one thread, supervised by another."""

    def __init__(
        self,
        gatherer: Gatherer,
        setting: tuple[Host, Collection[str]],
        collectors: Iterable[Collector],
        timeout: float,
        done: Callable[[Run], None],
    ) -> None:
        host, self._options = setting
        self._gatherer = gatherer
        self._done = done
        self._page_end = time.monotonic() + timeout
        patience = min(PATIENCE, PATIENT_SHARE * timeout)
        self._run = Run(host.snapshot(timeout, patience), {})
        self._pending = list(collectors)
        self._lock = threading.Lock()
        self._worker: _Worker | None = None  #: who runs it; any other was left behind
        self._began = time.monotonic()  #: when the first of those pending was started

    def hand_over(self, worker: _Worker) -> None:
        """Have `worker` do what is left."""
        self._worker = worker
        self._began = time.monotonic()
        worker.tasks.put(self)

    def supervise(self) -> float | None:
        """Give up on a collector that overran its time, and have another thread go on.

        Return the seconds until this has to be asked again, None when all have ended. Raises
        RuntimeError where no thread can be started: ask again.
        """
        with self._lock:
            now = time.monotonic()
            if self._pending and now >= self._latest():
                another = self._gatherer.give_up(self._pending[0])
                left = len(self._pending) if now >= self._page_end else 1
                for collector in self._pending[:left]:
                    outcome = _timed_out(collector.name, now - self._began)
                    self._run.outcomes[collector.name] = outcome
                del self._pending[:left]
                self.hand_over(another)
            return max(self._latest() - now, 0) if self._pending else None

    def _latest(self) -> float:
        waits_until = self._run.snapshot.waits_until + AFTER_WAITING
        return min(max(self._began + COLLECTOR_TIMEOUT, waits_until), self._page_end)

    def work(self, worker: _Worker) -> bool:
        """Run what is pending; return False where `worker` was left behind meanwhile."""
        while collector := self._next(worker):
            if self._gatherer.is_hung(collector):
                outcome = _timed_out(collector.name, 0)
            else:
                outcome = collect(collector, self._run.snapshot, self._options)
            if not self._keep(worker, collector, outcome):
                return False
        if self._worker is not worker:
            return False
        try:
            self._gatherer.end(self._run)
        finally:
            self._done(self._run)
        return True

    def _next(self, worker: _Worker) -> Collector | None:
        with self._lock:
            if self._worker is not worker or not self._pending:
                return None
            self._began = time.monotonic()
            return self._pending[0]

    def _keep(self, worker: _Worker, collector: Collector, outcome: Outcome) -> bool:
        with self._lock:
            if self._worker is not worker:
                return False
            self._run.outcomes[collector.name] = outcome
            del self._pending[0]
            return True


class _Worker(threading.Thread):
    """Runs one collection after the other, until it is left behind."""

    def __init__(self) -> None:
        super().__init__(name="collect", daemon=True)
        self.tasks: queue.SimpleQueue[Gathering | None] = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        while (gathering := self.tasks.get()) is not None:
            try:
                if not gathering.work(self):
                    return
            except Exception:  # noqa: PERF203 - a defect of ours must not end the thread
                _log.exception("the end of a collection failed")


class ErrorLog:
    """Logs what collectors met when it changes, not at every scrape."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def update(self, outcomes: Mapping[str, Outcome]) -> None:
        for name, outcome in outcomes.items():
            text = "; ".join(dict.fromkeys(str(error) for error in outcome.errors))
            if text == self._said.get(name, ""):
                continue
            self._said[name] = text
            if text:
                level = _LEVELS.get(outcome.status, logging.DEBUG)
                _log.log(level, "collector %s: %s: %s", name, outcome.status.value, text)
                for error in outcome.errors:
                    if error.__cause__:  # a defect of ours
                        _log.error("collector %s: %s", name, error, exc_info=error.__cause__)
            else:
                _log.info("collector %s: ok again", name)


def _timed_out(name: str, seconds: float) -> Outcome:
    error = TimedOut(f"{name}: no end in time, or still not back")
    return Outcome(errors=[error], seconds=seconds, left_behind=True)


def collect(collector: Collector, snapshot: Snapshot, options: Collection[str] = ()) -> Outcome:
    """Run one collector; what one of its rows meets never keeps the others from being served."""
    started = time.perf_counter()
    outcome = Outcome()
    for metric in collector.metrics:
        if (metric.option and metric.option not in options) or metric.unless in options:
            continue
        samples, error = (_kept if metric.of else _made)(metric, snapshot)
        if error:
            outcome.errors.append(error)
        if metric.bounded:
            outcome.omitted[metric.full_name] = max(len(samples) - metric.limit, 0)
            samples = samples[: metric.limit]
        outcome.families.append((metric, samples))
    outcome.seconds = time.perf_counter() - started
    return outcome


@kept_of_config
def _samples(_: Host) -> dict[str, tuple[list[object], Samples]]:
    """Keep, by metric name, the facts that samples were made of, and the samples."""
    return {}


def _kept(metric: Metric[Snapshot], snapshot: Snapshot) -> tuple[Samples, ReadError | None]:
    """Return the samples of the last scrape if they are made of the same facts, else make them."""
    try:
        facts = [fact(snapshot) for fact in metric.of]
    except ReadError as error:
        return (), bare(error)
    kept = _samples(snapshot.host)
    before = kept.pop(metric.name, None)
    if before is None or before[0] != facts:
        samples, failure = _made(metric, snapshot)
        if failure:
            return samples, failure
        before = facts, samples
    kept[metric.name] = before
    return before[1], None


def _made(metric: Metric[Snapshot], snapshot: Snapshot) -> tuple[Samples, ReadError | None]:
    """Return the samples that there are, and the error that ended them."""
    samples: list[Sample] = []
    try:
        samples.extend(metric.samples(snapshot))  # it keeps what came before an exception
    except ReadError as error:
        return tuple(samples), bare(error)
    except Exception as error:  # a defect of ours must not take the page down
        return tuple(samples), defect(metric.full_name, error)
    return tuple(samples), None
