"""What a metric and a collector are.

A metric is one row: its name, its help, where it comes from, and the function that makes its
samples out of a `Snapshot`. A collector is a file of rows. METRICS.md is made of the rows.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable, Generic, TypeVar, Union

from netfilter_exporter.facts.snapshot import Fact, Snapshot
from netfilter_exporter.kernel.errors import ReadError, bare, raise_worst

T = TypeVar("T")

PREFIX = "netfilter_"

#: Maximum number of samples on the page of a NAT gateway with modules.
PAGE_BUDGET = 420

#: More label sets than this of what rules and interfaces name are counted, not exported.
SERIES_LIMIT = 64

Sample = tuple[tuple[str, ...], Union[int, float]]  #: label values in order, value


@dataclasses.dataclass(frozen=True)
class Metric(Generic[T]):
    """One row of the metric table; T is what its samples are made of, usually a `Snapshot`.

    `samples` yields what it can and then raises the `ReadError` of what it could not read:
    what was yielded is served, and the error's status is the collector's.
    """

    name: str  #: without the prefix; a counter's ends in _total
    help: str
    source: str  #: the kernel file or message it comes from, for the table in METRICS.md
    samples: Callable[[T], Iterable[Sample]]
    labels: tuple[str, ...] = ()
    #: Facts that the samples are made of, and of nothing else: they are made again
    #: only when one of these is another than at the last scrape. For what seldom changes.
    of: tuple[Fact[Any], ...] = ()
    bounded: bool = False  #: its labels are named by rules or interfaces: `limit` applies
    limit: int = SERIES_LIMIT
    option: str | None = None  #: served only when this option of the collectors is on
    unless: str | None = None  #: not served when this option is on
    prefix: str = PREFIX  #: of the name; none where all exporters share it

    @property
    def full_name(self) -> str:
        return self.prefix + self.name

    @property
    def type(self) -> str:
        return "counter" if self.name.endswith("_total") else "gauge"


@dataclasses.dataclass(frozen=True)
class Collector:
    """A topic that can be enabled and disabled by name."""

    name: str
    help: str
    metrics: tuple[Metric[Snapshot], ...]
    by_default: bool = True  #: on without its flag
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)  #: with their help
    #: Maximum number of samples on a NAT gateway with modules, without options. Those of all
    #: collectors and of the exporter itself add up to at most PAGE_BUDGET.
    budget: int = 10
    #: Netlink dumps (message types) that a scrape may repeat where nothing has changed.
    dumps: frozenset[int] = frozenset()


def value(read: Callable[[T], float | None]) -> Callable[[T], Iterable[Sample]]:
    """Make the samples of a metric without labels; None is no sample."""

    def samples(facts: T) -> Iterable[Sample]:
        number = read(facts)
        if number is not None:
            yield (), number

    return samples


def by_label(
    read: Callable[[T], Mapping[Any, int | None]],
) -> Callable[[T], Iterable[Sample]]:
    """Make the samples of a metric with one label: a number for each of its values.

    A member of an enumeration stands for its value; None is no sample.
    """

    def samples(facts: T) -> Iterable[Sample]:
        for label, number in read(facts).items():
            if number is not None:
                yield (label.value if isinstance(label, enum.Enum) else label,), int(number)

    return samples


def one_for(read: Callable[[T], Iterable[str]]) -> Callable[[T], Iterable[Sample]]:
    """Make the samples of a metric that is 1 for each of some names, and otherwise absent."""
    return lambda facts: (((name,), 1) for name in read(facts))


def each(
    readings: Iterable[tuple[tuple[str, ...], Callable[[], float | None]]],
) -> Iterator[Sample]:
    """Yield a sample for each (label values, reading); None is none. Raise the worst error last."""
    errors: list[ReadError] = []
    for labels, read in readings:
        try:
            number = read()
        except ReadError as error:
            errors.append(bare(error))
            continue
        if number is not None:
            yield labels, number
    raise_worst(errors)
