"""New connections between two checks, from samples of the flow table."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping
from typing import Callable

from netfilter_exporter.check.proof import LOSSY, LOST_BIRTHS, Observed, Translations
from netfilter_exporter.config.model import Config
from netfilter_exporter.facts.flows import make_sampler, settings
from netfilter_exporter.flows.births import PATIENCE, Class, Replied
from netfilter_exporter.flows.observer import Sample
from netfilter_exporter.flows.scope import Scope
from netfilter_exporter.kernel.conntrack.flow import Translated
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.system import System
from netfilter_exporter.rules.families import Family

#: From this share of connections without a reply on, replies are waited for.
LOST_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class NewFlows:
    """The outbound flows that are new between two checks."""

    births: Mapping[Class, int]  #: those that were judged
    waiting: Mapping[Class, int]  #: those without a reply, which may still come
    sources: Mapping[Class, int]  #: distinct sources of those that were judged
    private: int = 0  #: flows between private networks, which are judged only where configured

    def observed(self) -> Observed:
        """Return how many were translated and how many replied, by family."""
        found: dict[Family, Translations] = {}
        for class_, number in (*self.births.items(), *self.waiting.items()):
            before = found.get(class_.family, Translations(0, 0, 0))
            found[class_.family] = Translations(
                before.connections + number,
                before.translated + number * class_.translated.source,
                before.replied + number * (class_.replied is Replied.YES),
            )
        return {family: seen._replace(lost=self._lost(family)) for family, seen in found.items()}

    def _lost(self, family: Family) -> int:
        return self.count(family, Replied.NO, translated=False)

    def count(self, family: Family, *replied: Replied, translated: bool) -> int:
        """Return how many were judged to be of these classes."""
        return _count(self.births, family, replied, translated=translated)

    def count_sources(self, family: Family, *replied: Replied, translated: bool) -> int:
        """Return from how many sources they came."""
        return _count(self.sources, family, replied, translated=translated)


def _count(
    numbers: Mapping[Class, int], family: Family, replied: tuple[Replied, ...], *, translated: bool
) -> int:
    return sum(
        number
        for class_, number in numbers.items()
        if class_.family is family
        and class_.replied in replied
        and (class_.translated.source if translated else class_.translated is Translated.NONE)
    )


class FlowWatch:
    """Takes the samples."""

    def __init__(
        self, system: System, config: Config, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._sampler = make_sampler(system, settings(config.flows))
        self._before: Sample | None = None
        self._sleep = sleep

    def begin(self) -> None:
        """Take the first sample; where it fails, so does the next."""
        self._sampler.look()

    def end(self) -> NewFlows | ReadError:
        """Take another sample; return what is new, or why that is unknown.

        Where much of it seems to be lost, wait until a reply had its time.
        """
        try:
            before = self._sampler.current()
            found = _between(before, self._look())
            if _may_be_lost(found):
                self._sleep(PATIENCE)
                found = _between(before, self._look())
        except ReadError as error:
            return error
        return found

    def _look(self) -> Sample:
        self._sampler.look()
        return self._sampler.current()


def _between(before: Sample, now: Sample) -> NewFlows:
    births = Counter(
        {
            class_: round(number - before.births.get(class_, 0.0))
            for class_, number in now.births.items()
            if class_.scope is Scope.OUTBOUND
        }
    )
    waiting = {
        class_: round(number)
        for class_, number in now.waiting.items()
        if class_.scope is Scope.OUTBOUND
    }
    return NewFlows(+births, waiting, now.sources, _private(now) - _private(before))


def _private(sample: Sample) -> int:
    numbers = (*sample.births.items(), *sample.waiting.items())
    return round(sum(number for class_, number in numbers if class_.scope is Scope.PRIVATE))


def _may_be_lost(found: NewFlows) -> bool:
    """Return whether most connections lack a reply so far, or those that are not translated do."""
    waiting = sum(found.waiting.values())
    untranslated = sum(
        number for class_, number in found.waiting.items() if class_.translated is Translated.NONE
    )
    return any(
        number >= LOST_BIRTHS and number > share * (waiting + sum(found.births.values()))
        for number, share in ((waiting, LOST_SHARE), (untranslated, LOSSY))
    )
