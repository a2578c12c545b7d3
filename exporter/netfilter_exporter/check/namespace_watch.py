"""Other network namespaces at two checks, from samples of them."""

from __future__ import annotations

import re
from typing import NamedTuple

from netfilter_exporter.facts.namespaces import make_sampler
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.netns.helper import Helper
from netfilter_exporter.kernel.system import System
from netfilter_exporter.netns.sampler import Sample
from netfilter_exporter.netns.selection import Selection

ALL = "all"


class Watched(NamedTuple):
    """The namespaces now, and at the check before."""

    now: Sample
    before: Sample | None  #: None where there was none, and so no rate
    seconds: float  #: between the two
    error: ReadError | None = None  #: why they are unknown


class NamespaceWatch:
    """Takes the samples."""

    def __init__(self, system: System, wanted: str, helper: Helper | None = None) -> None:
        """`wanted` is the name of a namespace, or `ALL`; `helper` enters those with no process."""
        self._clock = system.clock
        self._sampler = make_sampler(system)
        include = None if wanted == ALL else re.compile(re.escape(wanted))
        self._sampler.select(Selection(include), helper)
        self._before: tuple[Sample, float] | None = None

    def look(self) -> Watched:
        """Take a sample; return it with the one before, or why there is none."""
        self._sampler.look()
        at = self._clock()
        try:
            now = self._sampler.current()
        except ReadError as error:
            self._before = None
            return Watched(Sample(()), None, 0.0, error)
        before, self._before = self._before, (now, at)
        if before is None or at <= before[1]:
            return Watched(now, None, 0.0)
        return Watched(now, before[0], at - before[1])
