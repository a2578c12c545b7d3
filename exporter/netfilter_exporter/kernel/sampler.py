"""Takes samples at intervals.

A `Sampler` has a thread: a scrape reads the last sample and never waits for one.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Generic, TypeVar

from netfilter_exporter.kernel.errors import NoData, ReadError, TimedOut, bare, defect

T = TypeVar("T")

#: A sample that is older than so many intervals, and this, says nothing of now.
_STALE_INTERVALS, _STALE_SECONDS = 3, 10.0


class Samples(Generic[T]):
    """Takes samples, and keeps the last one; what they are of is in `take`."""

    def __init__(self, what: str, interval: float, cpu_share: float) -> None:
        """`interval` is in seconds, and longer where samples take more than a share of a CPU."""
        self._what = what
        self._least_interval = interval
        self._cpu_share = cpu_share
        self._interval = interval
        self._found: T | ReadError = NoData(f"{what}: no sample was taken yet")
        self._found_at = -math.inf

    def take(self) -> T:
        """Take one sample; raises `ReadError`."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drop what the next sample would be compared with: one has failed."""

    def spent_by_others(self) -> float:
        """Return the CPU seconds that other processes spent on the last sample."""
        return 0.0

    def current(self) -> T:
        """Return the last sample; raises the `ReadError` of one that failed."""
        found = self._found
        if isinstance(found, ReadError):
            raise bare(found)
        age = time.monotonic() - self._found_at
        if age > _STALE_INTERVALS * self._interval + _STALE_SECONDS:
            raise TimedOut(f"{self._what}: the last sample was taken {age:.0f} s ago")
        return found

    def look(self) -> None:
        """Take one sample, and keep it or the reason why there is none."""
        began = time.thread_time()
        try:
            self._found = self.take()
        except ReadError as error:
            self.forget()
            self._found = bare(error)
        except Exception as error:  # a defect of ours must not end the samples
            self.forget()
            self._found = defect(self._what, error)
        self._found_at = time.monotonic()
        cost = time.thread_time() - began + self.spent_by_others()
        self._interval = max(self._least_interval, cost / self._cpu_share)


class Sampler(Samples[T]):
    """Takes them in a separate thread."""

    def __init__(self, what: str, interval: float, cpu_share: float) -> None:
        super().__init__(what, interval, cpu_share)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=what, daemon=True)

    def start(self) -> None:
        """Take the first sample, and others, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """Take no more samples."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            self.look()
            self._stop.wait(max(began + self._interval - time.monotonic(), 0.0))
