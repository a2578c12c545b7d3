"""What a program is: where it comes from, its healthy host, and the faults that its users report.

A program is a file of ../writers with a PROGRAM.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping

from lab.scenario import Scenario

HEALTHY = "healthy"
STABLE = "trixie"
#: New flows are sampled as often as the lab's pages come: see tests/kernel/scenarios/_flows.py.
_CONFIG = "network_namespace: any\nflows: {interval: 1, cpu_permille: 1000}\n"


@dataclasses.dataclass(frozen=True)
class Program:
    """A program that writes NAT rules, or the shape of what it writes."""

    healthy: Scenario  #: without a fault
    role: str  #: the value of `nat` that its user would configure
    packages: tuple[str, ...] = ()  #: of Debian; the first one's version is shown
    suite: str = STABLE  #: that the packages are of
    #: Of a shape: the program's version, and where it is published how they look. Shown instead.
    source: str = ""
    faults: Mapping[str, Scenario] = dataclasses.field(default_factory=dict)

    @property
    def configuration(self) -> str:
        """The exporter's, with the role."""
        return f"{_CONFIG}nat: {self.role}\n"

    def state(self, name: str) -> Scenario:
        """Return a state: the healthy host has the role configured, a fault has to do without."""
        if name == HEALTHY:
            return dataclasses.replace(self.healthy, config=self.configuration)
        return dataclasses.replace(self.faults[name], config=_CONFIG)


def load() -> dict[str, Program]:
    """Return every program by the name of its file, with dashes."""
    package = importlib.import_module("writers")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return {
        name.replace("_", "-"): importlib.import_module(f"writers.{name}").PROGRAM
        for name in names
        if not name.startswith("_")
    }


def states() -> list[tuple[str, str]]:
    """Return each program's name with that of each of its states."""
    return [
        (name, state) for name, program in load().items() for state in (HEALTHY, *program.faults)
    ]
