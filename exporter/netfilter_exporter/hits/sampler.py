"""Reads the counters of all NAT rules at intervals, each ruleset by itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Callable, NamedTuple

from netfilter_exporter.hits.account import Account, Changed, Fits, Hits, Readings
from netfilter_exporter.kernel.errors import ReadError, defect
from netfilter_exporter.kernel.sampler import Sampler
from netfilter_exporter.rules.families import Backend

#: Seconds between two looks, and the part of one CPU that they may take.
INTERVAL, CPU_SHARE = 15.0, 0.002
#: Seconds for which hits are served that could not be read again, as the rules were changing.
_HELD = 50.0
#: Seconds in which iptables-legacy puts the counters back that its replacement of a table cleared.
_SETTLES = 0.2


class Source(NamedTuple):
    """A ruleset: whose rules it has, and what reads their counters."""

    backend: Backend
    read: Callable[[], Readings]


class RulesetHits(NamedTuple):
    """The hits of one ruleset, or why there are none."""

    backend: Backend
    hits: Hits | None
    error: ReadError | None = None


class HitSampler(Sampler[Sequence[RulesetHits]]):
    """What the collector asks: the last hits of each ruleset."""

    def __init__(
        self, sources: Sequence[Source], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__("hits", INTERVAL, CPU_SHARE)
        self._counting = [_Counting(source, sleep) for source in sources]

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
                return RulesetHits(self._source.backend, None, error)
        except ReadError as error:
            self._last = None
            return RulesetHits(self._source.backend, None, error)
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
