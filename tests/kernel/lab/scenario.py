"""What a scenario is: a healthy NAT host, one fault, and what must be seen of it.

A scenario is a file of ../scenarios with a SCENARIO. The parts that do something (setup, fault,
check) run as root in the guest, or in a namespace of the running kernel; the expectations are held
against the pages afterwards.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Callable, Union

#: Before the fault and after it. What was before is stretched to a day, so fewer pages do there.
SCRAPES = (5, 10)


@dataclasses.dataclass(frozen=True)
class Rises:
    """A counter that is higher at the last scrape than at the first, by at least `by`."""

    by: float = 1


@dataclasses.dataclass(frozen=True)
class Still:
    """A counter that is the same at every scrape."""


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """A value that is nowhere smaller."""

    value: float


@dataclasses.dataclass(frozen=True)
class UpTo:
    """A value that is nowhere larger; a scrape may lack it."""

    value: float


#: What samples of a metric add up to at every scrape; None: there is no such sample.
Expected = Union[int, float, None, Rises, Still, AtLeast, UpTo]
#: By metric as in PromQL, without the prefix: `nat_rules{family="ipv4"}`.
Expectations = Mapping[str, Expected]


@dataclasses.dataclass(frozen=True)
class Difference:
    """Where kernels differ: what replaces the scenario's own expectations there, and why."""

    because: str
    applies: Callable[[tuple[int, ...]], bool]  #: to the kernel's version
    before: Expectations = dataclasses.field(default_factory=dict)
    after: Expectations = dataclasses.field(default_factory=dict)
    works: Mapping[str, tuple[bool, bool]] = dataclasses.field(default_factory=dict)
    alerts: frozenset[str] | None = None
    skipped: bool = False  #: this kernel cannot be brought into that state
    slow: bool = False  #: left out to save time, unless everything is wanted


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One fault, or with no alerts one healthy twin."""

    about: str  #: one sentence: what happens, and what must be seen of it
    setup: Callable[[Any], None]  #: makes the healthy host out of a `Router`
    fault: Callable[[Any], None] | None = None  #: None: nothing happens at all
    #: Kinds of flows (see `Router.flows`) -> whether they get through before and after the fault.
    works: Mapping[str, tuple[bool, bool]] = dataclasses.field(default_factory=dict)
    #: Called before each scrape with its number since the fault, below zero before that.
    meanwhile: Callable[[Any, int], None] | None = None
    meant: bool = False  #: flows that stop are no fault
    before: Expectations = dataclasses.field(default_factory=dict)
    after: Expectations = dataclasses.field(default_factory=dict)
    #: The alerts that must fire, and no others.
    alerts: frozenset[str] = frozenset()
    pages: bool = True  #: False: each of them is a ticket at most
    #: Alerts that fire too, but that those inhibit.
    inhibited: frozenset[str] = frozenset()
    #: Those of them that fire on the healthy host too.
    standing: frozenset[str] = frozenset()
    #: Collectors that do not succeed after the fault, and the status of each.
    failing: Mapping[str, str] = dataclasses.field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    #: Returns what is wrong with the host at the end, apart from the pages.
    check: Callable[[Any], list[str]] | None = None
    config: str = ""  #: the exporter's configuration file
    flags: tuple[str, ...] = ()  #: more flags for it
    #: The conntrack table has so few buckets that ctnetlink is asked for flows, not procfs.
    dense: bool = False
    network: bool = True  #: False: no client and no server, the machine as it booted
    #: It loads or unloads modules, or sets what all namespaces share: not on the running kernel.
    needs_boot: bool = False
    ruins_boot: bool = False  #: nothing else can be run in that boot

    def on(self, version: tuple[int, ...], *, slow: bool = False) -> Scenario | None:
        """Return what holds on a kernel; None where it is not run. `slow`: run what is slow too."""
        found = self
        for difference in self.differences:
            if not difference.applies(version):
                continue
            if difference.skipped or (difference.slow and not slow):
                return None
            found = dataclasses.replace(
                found,
                before={**found.before, **difference.before},
                after={**found.after, **difference.after},
                works={**found.works, **difference.works},
                alerts=found.alerts if difference.alerts is None else difference.alerts,
            )
        return found

    @property
    def depends(self) -> bool:
        """Whether kernels differ in it: it loads modules, or has other expectations somewhere."""
        return self.needs_boot or bool(self.differences)


#: What may follow a scenario's name: which source of flows the exporter is to choose.
PROCFS, CTNETLINK = "@procfs", "@ctnetlink"
#: So few buckets that the table is dense: ctnetlink is asked then.
DENSE = 256
#: So many that the table of no scenario is.
SPARSE = 1 << 16


def find(name: str) -> Scenario:
    """Return a scenario by its name; `NAME@procfs` or `NAME@ctnetlink` chooses the source of flows.

    The latter resizes the table of the running kernel too, which others share.
    """
    plain, at, source = name.partition("@")
    found = load()[plain]
    return (
        dataclasses.replace(found, dense={PROCFS: False, CTNETLINK: True}[at + source])
        if at
        else found
    )


def load() -> dict[str, Scenario]:
    """Return every scenario by the name of its file, with dashes."""
    package = importlib.import_module("scenarios")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return {
        name.replace("_", "-"): importlib.import_module(f"scenarios.{name}").SCENARIO
        for name in names
        if not name.startswith("_")
    }
