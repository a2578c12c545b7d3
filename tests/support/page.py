"""A page of metrics of a recorded host, made in this process."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from netfilter_exporter import collectors
from netfilter_exporter.collection import Gatherer, collect
from netfilter_exporter.collectors.base import Collector
from netfilter_exporter.exporter_metrics import page_families
from netfilter_exporter.exposition import Exposition
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel.errors import Status
from support.host import FakeHost

PREFIX = "netfilter_"

#: What differs from run to run and says nothing of the host, and what stands for it.
_VOLATILE = (
    (re.compile(r'(scrape_collector_duration_seconds\{collector="\w+"\}) \S+'), r"\1 0"),
    (re.compile(r"(exporter_build_info)\{.*\}"), r"\1{...}"),
    # Help texts do, too, when they are edited; they are the same on every page.
    (re.compile(r"^# HELP .*\n", re.MULTILINE), ""),
)


class Labelled(NamedTuple):
    """A sample of a metric."""

    labels: Mapping[str, str]
    value: float


class Page:
    """The text of a page, and its samples by name."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples: dict[str, list[Labelled]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found = Labelled(sample.labels, sample.value)
                self._samples.setdefault(sample.name, []).append(found)

    @property
    def stable_text(self) -> str:
        """The page without what differs from run to run."""
        text = self.text
        for pattern, replacement in _VOLATILE:
            text = pattern.sub(replacement, text)
        return text

    def adding(self, name: str, value: float, **labels: str) -> Page:
        """Return this page with one more sample of a metric; its text stays."""
        found = copy.copy(self)
        more = [*self._samples.get(PREFIX + name, ()), Labelled(labels, value)]
        found._samples = {**self._samples, PREFIX + name: more}
        return found

    def lines(self) -> list[str]:
        """Return the samples as they are written."""
        return [line for line in self.text.splitlines() if not line.startswith("#")]

    def samples(self, name: str, /, **labels: str) -> list[Labelled]:
        """Return the samples of a metric that have `labels`; the name is without its prefix."""
        found = self._samples.get(PREFIX + name, ())
        return [sample for sample in found if labels.items() <= sample.labels.items()]

    def everything(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        """Yield full name, labels and value of every sample."""
        for name, samples in self._samples.items():
            for sample in samples:
                yield name, sample.labels, sample.value

    def total(self, name: str, /, **labels: str) -> float | None:
        """Return the sum of `samples`, or None where there is none."""
        found = self.samples(name, **labels)
        return sum(sample.value for sample in found) if found else None


def make(host: FakeHost, options: Collection[str] = ()) -> Page:
    """Scrape `host` once with the collectors that are on by default."""
    enabled = [each for each in collectors.load().values() if each.by_default]
    run = Gatherer(Host(host.system), options).gather(enabled)
    text, _ = Exposition().render(page_families(run), accept="")
    return Page(text.decode())


def collected(
    collector: Collector, host: Host
) -> tuple[dict[str, dict[tuple[str, ...], float]], Status]:
    """Return the samples of one collector by the name of their metric, and its status."""
    snapshot = host.snapshot(timeout=60.0)
    with contextlib.closing(snapshot):
        outcome = collect(collector, snapshot)
    rows = {metric.name: dict(samples) for metric, samples in outcome.families}
    return rows, outcome.status
