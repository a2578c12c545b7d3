"""Pages of hosts as the series that promtool is given: with what was before them, and comes after.

The pages of a host are scrapes 15 seconds apart, some before a fault and some after it. What was
before is stretched, and the last interval is repeated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from support.page import Page

INTERVAL = 15  #: seconds between two pages
AFTERWARDS = 1800  #: seconds for which the last interval is repeated
_TARGET = {"job": "netfilter"}
_RECENT = 5  #: intervals that tell how a counter goes on

#: A name and its labels, but for job and instance.
Series = tuple[str, tuple[tuple[str, str], ...]]


class Recorded(NamedTuple):
    """The pages of a host, of each kind as many as of the other hosts."""

    before: Sequence[Page]
    after: Sequence[Page]


class View(NamedTuple):
    """How closely a run looks."""

    step: int  #: one of so many pages is seen
    before: int  #: seconds to which what was before the fault is stretched
    evaluation: int  #: seconds between two evaluations
    most: int  #: hosts that are evaluated together: promtool takes 10 000 samples in a query

    @property
    def interval(self) -> int:
        return self.step * INTERVAL


def of_host(
    view: View, instance: str, recorded: Recorded, names: set[str]
) -> Iterator[Mapping[str, str]]:
    """Yield the series of a host that the rules read."""
    before, after = recorded.before[:: view.step], recorded.after[:: view.step]
    values: dict[Series, list[float | None]] = {}
    for number, page in enumerate((*before, *after)):
        for name, labels, value in page.everything():
            if name in names:
                key = name, tuple(sorted(labels.items()))
                values.setdefault(key, [None] * len((*before, *after)))[number] = value
    for series, numbers in values.items():
        words = _values(view, numbers, len(before), counter=series[0].endswith("_total"))
        yield {"series": written(series, instance), "values": " ".join(words)}
    scrapes = (view.before + AFTERWARDS) // view.interval + len((*before, *after))
    yield {"series": written(("up", ()), instance), "values": f"1x{scrapes}"}


def named(labels: Mapping[str, str]) -> tuple[str, Series]:
    """Return the instance and the series that `labels` name."""
    own = tuple(
        (name, value)
        for name, value in sorted(labels.items())
        if name not in {"__name__", "instance", *_TARGET}
    )
    return labels["instance"], (labels["__name__"], own)


def written(series: Series, instance: str) -> str:
    """Return a series as promtool and PromQL write it."""
    name, own = series
    labels = (*_TARGET.items(), ("instance", instance), *own)
    return f"{name}{{{','.join(f'{key}={json.dumps(value)}' for key, value in labels)}}}"


def _values(
    view: View, numbers: Sequence[float | None], faultless: int, *, counter: bool
) -> Iterator[str]:
    """Yield promtool's notation for what was before, for the pages and for what comes after."""
    earlier, later = view.before // view.interval, AFTERWARDS // view.interval
    first = numbers[0]
    slope = _slope(numbers[:faultless]) if counter else 0.0
    raised = 0.0  # so that a counter has not been below zero at the beginning
    if first is None:
        yield f"_x{earlier}"
    else:
        raised = max(slope * earlier - first, 0)
        yield f"{first + raised - slope * earlier}+{slope}x{earlier - 1}"
    last: float | None = None
    for number in numbers:
        if number is None:
            # A series that a scrape lacks ends at once.
            yield "_" if last is None else "stale"
        else:
            if last is not None and number < last:
                raised = 0.0  # a reset
            yield f"{number + raised}"
        last = number
    if last is None:
        yield f"_x{later}"
    else:
        slope = _slope(numbers[-_RECENT - 1 :]) if counter else 0.0
        yield f"{last + raised + slope}+{slope}x{later - 1}"


def _slope(numbers: Iterable[float | None]) -> float:
    """Return what a counter gains in an interval on average, resets apart."""
    known = [number for number in numbers if number is not None]
    gains = [max(new - old, 0) for old, new in zip(known, known[1:])]
    return sum(gains) / len(gains) if gains else 0.0
