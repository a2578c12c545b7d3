"""Samples the flow table at intervals, in a separate thread.

A scrape reads what the last look found and never waits for one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Callable

from netfilter_exporter.flows.look import Looker
from netfilter_exporter.flows.observer import Observer, Sample, Settings
from netfilter_exporter.flows.scope import AskRoute
from netfilter_exporter.kernel.errors import NoData, ReadError, TimedOut, defect

#: A look that is older than so many intervals, and this, says nothing of now.
_STALE_INTERVALS, _STALE_SECONDS = 3, 10.0


class FlowSampler:
    """What the collector asks: the last sample."""

    def __init__(
        self,
        looker: Looker,
        routes: Callable[[], contextlib.AbstractContextManager[AskRoute]],
        settings: Settings,
    ) -> None:
        """`routes` opens, for one look, what answers for routes."""
        self._looker = looker
        self._routes = routes
        self._settings = settings
        self._observer = Observer(settings.networks)
        self._buckets: int | None = None
        self._found: Sample | ReadError = NoData("no look at the flow table was taken yet")
        self._interval = settings.interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flows", daemon=True)

    def start(self) -> None:
        """Take the first look, and others, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """Take no more looks."""
        self._stop.set()

    def reconfigure(self, settings: Settings) -> None:
        """Look as `settings` say from the next look on."""
        self._settings = settings

    def current(self) -> Sample:
        """Return what the last look found; raises the `ReadError` of one that failed."""
        found = self._found
        if isinstance(found, ReadError):
            raise found.with_traceback(None)
        age = time.monotonic() - found.at
        if age > _STALE_INTERVALS * self._interval + _STALE_SECONDS:
            raise TimedOut(f"flows: the last look was {age:.0f} s ago")
        return found

    def look(self) -> None:
        """Take one look."""
        settings = self._settings
        began = time.thread_time()
        try:
            self._found = self._look(settings)
        except ReadError as error:
            self._observer.forget()
            self._found = error
        except Exception as error:  # a defect of ours must not end the looks
            self._observer.forget()
            self._found = defect("flows", error)
        cost = time.thread_time() - began
        self._interval = max(settings.interval, cost / settings.cpu_share)

    def _look(self, settings: Settings) -> Sample:
        self._observer.configure(settings.networks)
        look = self._looker.look(settings.sample_size)
        if look.buckets != self._buckets:
            self._buckets = look.buckets
            self._observer.forget()
        with self._routes() as ask:
            return self._observer.observe(look.reading, look.entries, ask, time.monotonic())

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            self.look()
            self._stop.wait(max(began + self._interval - time.monotonic(), 0.0))
