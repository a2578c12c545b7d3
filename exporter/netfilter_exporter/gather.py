"""Runs the collectors: one after the other, each isolated, each with a deadline."""

from __future__ import annotations

import dataclasses
import logging
import queue
import threading
import time
from collections.abc import Collection, Iterable, Mapping

from netfilter_exporter.collectors.base import SERIES_LIMIT, Collector, Metric, Sample
from netfilter_exporter.kernel.errors import (
    HEALTHY,
    ReadError,
    Status,
    TimedOut,
    defect,
    worst,
)
from netfilter_exporter.snapshot import Host, Snapshot

_log = logging.getLogger(__name__)

#: Seconds for one collector, and for all of them: Prometheus waits ten by default.
COLLECTOR_TIMEOUT = 3.0
PAGE_TIMEOUT = 8.0

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
        self._setting = host, options
        self._worker: _Worker | None = None
        self._hung: dict[str, _Worker] = {}
        self._complaints = Complaints()

    def reconfigure(self, host: Host, options: Collection[str]) -> None:
        """Use these from the next collection on; the one that is under way keeps its own."""
        self._setting = host, options

    def gather(self, collectors: Iterable[Collector], timeout: float = PAGE_TIMEOUT) -> Run:
        """Run `collectors` on a fresh snapshot, for at most `timeout` seconds.

        They share one thread, which is kept: starting one costs 70 µs. When one of them overruns
        its time, that thread is left behind, the others go on in a new one, and it is not started
        again before it has come back.
        """
        page_end = time.monotonic() + timeout
        host, options = self._setting
        run = Run(host.snapshot(timeout), {})
        pending = list(collectors)
        while pending:
            self._hung = {name: hung for name, hung in self._hung.items() if hung.is_alive()}
            task = _Task(run.snapshot, pending, options, frozenset(self._hung))
            worker = self._worker or _Worker()
            late = worker.do(task, page_end)
            self._worker = worker if late is None else None
            run.outcomes.update(zip((c.name for c in pending), task.outcomes))
            del pending[: len(task.outcomes)]
            if late is not None:
                self._hung[pending[0].name] = worker
                left = len(pending) if time.monotonic() >= page_end else 1
                run.outcomes.update((c.name, _timed_out(c.name, late)) for c in pending[:left])
                del pending[:left]
        if not self._hung:
            run.snapshot.close()
        self._complaints.hear(run.outcomes)
        return run

    def close(self) -> None:
        """End the thread."""
        if self._worker:
            self._worker.tasks.put(None)
            self._worker = None


class _Task:
    """Collectors to run on a snapshot, and their outcomes so far, in order."""

    def __init__(
        self,
        snapshot: Snapshot,
        collectors: Iterable[Collector],
        options: Collection[str],
        busy: frozenset[str],
    ) -> None:
        self.outcomes: list[Outcome] = []
        self._ended: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._snapshot = snapshot
        self._collectors = tuple(collectors)
        self._options = options
        self._busy = busy
        self._lock = threading.Lock()
        self._abandoned = False
        self._began = time.monotonic()  #: when the collector that is running was started

    def run(self) -> bool:
        """Run them all; return False where nobody has waited for the end."""
        for collector in self._collectors:
            if collector.name in self._busy:
                outcome = _timed_out(collector.name, 0)
            else:
                outcome = collect(collector, self._snapshot, self._options)
            with self._lock:
                if self._abandoned:
                    return False
                self.outcomes.append(outcome)
                self._began = time.monotonic()
        self._ended.put(None)
        return True

    def abandon(self, page_end: float) -> float | None:
        """Give up on a collector that overran its time and return what it took, else None."""
        with self._lock:
            now = time.monotonic()
            unfinished = len(self.outcomes) < len(self._collectors)
            self._abandoned = unfinished and now >= self._latest(page_end)
            return now - self._began if self._abandoned else None

    def ends(self, page_end: float) -> bool:
        """Wait for the end, as long as the collector that is running may go on."""
        with self._lock:
            patience = max(self._latest(page_end) - time.monotonic(), 0)
        try:
            self._ended.get(timeout=patience)
        except queue.Empty:
            return False
        return True

    def _latest(self, page_end: float) -> float:
        return min(self._began + COLLECTOR_TIMEOUT, page_end)


class _Worker(threading.Thread):
    """Runs one task after the other, until one is abandoned."""

    def __init__(self) -> None:
        super().__init__(name="collect", daemon=True)
        self.tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        while (task := self.tasks.get()) is not None:
            if not task.run():
                return

    def do(self, task: _Task, page_end: float) -> float | None:
        """Have `task` run; return None, or what the collector took that was given up."""
        self.tasks.put(task)
        late = None
        while late is None and not task.ends(page_end):
            late = task.abandon(page_end)
        return late


class Complaints:
    """Logs what collectors met when it changes, not at every scrape."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def hear(self, outcomes: Mapping[str, Outcome]) -> None:
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
    return Outcome(errors=[TimedOut(f"{name}: no end in time, or still not back")], seconds=seconds)


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
            outcome.errors.append(defect(metric.full_name, error))
        if metric.bounded:
            outcome.omitted[metric.full_name] = max(len(samples) - SERIES_LIMIT, 0)
            del samples[SERIES_LIMIT:]
        outcome.families.append((metric, tuple(samples)))
    outcome.seconds = time.perf_counter() - started
    return outcome
