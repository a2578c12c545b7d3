"""u32 counters that wrap, made into counters that do not."""

from __future__ import annotations

from netfilter_exporter.kernel.conntrack.statistics import Statistics

_WRAP = 1 << 32
_HALF = 1 << 31


class CounterMemory:
    """Remembers the last raw value of every counter of every CPU, and how often it wrapped."""

    def __init__(self) -> None:
        self._last: Statistics = ()
        self._wraps: dict[tuple[int, str], int] = {}

    def forget(self) -> None:
        """Take what comes next as a fresh start: the counters were gone in between."""
        self._last = ()
        self._wraps = {}

    def absorb(self, raw: Statistics) -> Statistics:
        """Return `raw` with the wraps added.

        A value that fell is a wrap only where it went over the top: it was in the upper half,
        and the way forward to the new one is shorter than half the circle. Anything else is a
        reset, and then of all counters: a reloaded module must not invent four billion drops.
        """
        fallen = [
            (cpu, name)
            for cpu, (before, now) in enumerate(zip(self._last, raw))
            for name, value in now.items()
            if value < before.get(name, 0)
        ]
        if len(raw) != len(self._last) or not all(self._wrapped(raw, *key) for key in fallen):
            self.forget()
        else:
            for key in fallen:
                self._wraps[key] = self._wraps.get(key, 0) + 1
        self._last = raw
        if not self._wraps:
            return raw
        return tuple(
            {name: value + _WRAP * self._wraps.get((cpu, name), 0) for name, value in now.items()}
            for cpu, now in enumerate(raw)
        )

    def _wrapped(self, raw: Statistics, cpu: int, name: str) -> bool:
        before, now = self._last[cpu][name], raw[cpu][name]
        return before >= _HALF and (now - before) % _WRAP < _HALF
