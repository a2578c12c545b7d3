"""Reads the counters of all NAT rules in scrapes, each ruleset by itself.

Not in a thread: that costs five times as much, as everything has left the caches of a processor
that was idle. Counters lose nothing between scrapes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Callable, NamedTuple

from netfilter_exporter.hits.account import Account, Changed, Fits, Hits, Readings
from netfilter_exporter.kernel.errors import ReadError, bare, defect
from netfilter_exporter.kernel.sampler import Samples
from netfilter_exporter.rules.families import Backend

#: Part of an interval after which the next scrape takes a look: scrapes are not punctual.
_PUNCTUALITY = 0.9
#: Seconds between two looks, and the part of one CPU that they may take: 0.2 ms of 15 s, also where
#: each comes that early.
INTERVAL, CPU_SHARE = 15.0, _PUNCTUALITY * 0.0002 / 15
#: Seconds after which a look is taken whatever it costs: for longer than NetfilterNatIdle's
#: `for: 1m`, hits must not be older than the births that it compares them with.
_LATEST = 45.0
#: Seconds for which hits are served that could not be read again, as the rules were changing.
_HELD = 50.0
#: Seconds in which iptables-legacy puts the counters back that its replacement of a table cleared.
_SETTLES = 0.2


def due_after(interval: float) -> float:
    """Return the seconds after which the next scrape takes a look."""
    return _PUNCTUALITY * min(interval, _LATEST)


class Source(NamedTuple):
    """A ruleset: whose rules it has, and what reads their counters."""

    backend: Backend
    read: Callable[[], Readings]


class RulesetHits(NamedTuple):
    """The hits of one ruleset, or why there are none."""

    backend: Backend
    hits: Hits | None
    error: ReadError | None = None


class HitSampler(Samples[Sequence[RulesetHits]]):
    """What the collector asks: the hits of each ruleset."""

    def __init__(
        self, sources: Sequence[Source], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__("hits", INTERVAL, CPU_SHARE)
        self._counting = [_Counting(source, sleep) for source in sources]
        self._looking = threading.Lock()
        self._looking.acquire()  # until `start`: a process that ends knows of no hits

    def start(self) -> None:
        """Take looks from now on, when the collector asks."""
        self._looking.release()

    def close(self) -> None:
        """Take no more looks."""
        self._looking.acquire(blocking=False)

    def current(self) -> Sequence[RulesetHits]:
        """Return the last hits, of a look that is taken now if one is due."""
        if self._looking.acquire(blocking=False):  # else a scrape that was left behind hangs in one
            try:
                if time.monotonic() - self._found_at >= due_after(self._interval):
                    self.look()
            finally:
                self._looking.release()
        return super().current()

    def name(self, rules: Mapping[str, Fits]) -> None:
        """Count hits of these rules by name too, from the next look on."""
        for counting in self._counting:
            counting.names = rules

    def take(self) -> Sequence[RulesetHits]:
        return [counting.take() for counting in self._counting]


class _Counting:
    """The account of one source."""

    def __init__(self, source: Source, sleep: Callable[[float], None]) -> None:
        self.names: Mapping[str, Fits] = {}
        self._source = source
        self._sleep = sleep
        self._account = Account()
        self._last: Hits | None = None
        self._last_at = 0.0

    def take(self) -> RulesetHits:
        """Read the counters once, and add what is new."""
        try:
            self._last = self._take()
            self._last_at = time.monotonic()
        except Changed as error:
            if self._last is None or time.monotonic() - self._last_at > _HELD:
                return RulesetHits(self._source.backend, None, bare(error))
        except ReadError as error:
            self._last = None
            return RulesetHits(self._source.backend, None, bare(error))
        except Exception as error:  # a defect in one must not hide the others
            self._last = None
            return RulesetHits(self._source.backend, None, defect("hits", error))
        return RulesetHits(self._source.backend, self._last)

    def _take(self) -> Hits:
        found = self._source.read()
        if self._source.backend is Backend.LEGACY and self._account.has_fallen(found):
            self._sleep(_SETTLES)
            found = self._source.read()
        self._account.name(self.names)
        return self._account.take(found)
