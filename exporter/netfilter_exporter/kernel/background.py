"""Readings that take longer than a scrape waits: each in a separate thread."""

from __future__ import annotations

import threading
import time
from typing import Callable, Generic, TypeVar

from netfilter_exporter.kernel.errors import ReadError, TimedOut, bare, defect

#: Seconds for one reading, which no scrape's deadline ends.
READING_TIMEOUT = 60.0

T = TypeVar("T")


class StillReading(TimedOut):
    """A reading goes on: whoever asks later has it."""


class Background(Generic[T]):
    """Reads in threads, one reading after the other, and keeps what the last one found.

    A reading goes on when nobody waits for it.
    """

    def __init__(self, what: str) -> None:
        self.last: T | None = None
        self._what = what
        self._lock = threading.Lock()
        self._reading: _Reading[T] | None = None

    def read(self, read: Callable[[], T], patience: float) -> T:
        """Return what the reading under way finds, or else that of `read`, which is begun.

        Raises its `ReadError`. After `patience` seconds raises `StillReading`, or the error of the
        reading before, which nobody may have waited for.
        """
        reading = self._begin(read)
        reading.join(0.0 if reading.is_overdue() else patience)
        if reading.found is None:
            error = reading.error or reading.error_before
            raise bare(error) if error else StillReading(f"{self._what}: being read")
        return reading.found

    def _begin(self, read: Callable[[], T]) -> _Reading[T]:
        """Return the reading that is under way, begun if there was none."""
        with self._lock:
            before = self._reading
            if before and before.is_alive():
                return before
            reading = _Reading(self, self._what, read, before.error if before else None)
            reading.start()
            self._reading = reading
            return reading


class _Reading(threading.Thread, Generic[T]):
    """One reading; what came of it is there when the thread has ended."""

    def __init__(
        self, kept: Background[T], what: str, read: Callable[[], T], error_before: ReadError | None
    ) -> None:
        super().__init__(name=what, daemon=True)
        self._kept = kept
        self._read = read
        self.error_before = error_before
        self._ends_by = time.monotonic() + READING_TIMEOUT
        self.error: ReadError | None = None
        self.found: T | None = None

    def is_overdue(self) -> bool:
        """Return whether it hangs in the kernel: nobody need wait for it."""
        return time.monotonic() > self._ends_by

    def run(self) -> None:
        try:
            self._kept.last = self.found = self._read()
        except ReadError as error:
            self.error = bare(error)
        except Exception as error:  # a defect of ours is the error of whoever asks
            self.error = defect(self.name, error)
