"""Checks of modules: by what they make possible, never by their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from netfilter_exporter.check import commands, shell
from netfilter_exporter.check.context import Context
from netfilter_exporter.check.findings import Found, Value
from netfilter_exporter.check.module_commands import REBOOT
from netfilter_exporter.check.shell import Line
from netfilter_exporter.facts.capabilities import (
    capabilities,
    capabilities_blocked,
    capability_obstacles,
)
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.kernel.modules.capabilities import nearest


def _alike(context: Context, names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield the capabilities that lack the same modules together."""
    groups: dict[object, list[str]] = defaultdict(list)
    for name in names:
        groups[capability_obstacles(context.snapshot).get(name, name)].append(name)
    yield from map(tuple, groups.values())


def _evidence(context: Context, names: tuple[str, ...]) -> dict[str, Value]:
    """Return where the modules of capabilities are, and those that stand in the way."""
    modules = kernel_modules(context.snapshot)
    states = {m: modules.known[m].state.value for m in nearest(modules, names[0])}
    obstacles = capability_obstacles(context.snapshot).get(names[0], ())
    return {"capability": ", ".join(names), **states, **{o.module: o.reason for o in obstacles}}


def _load(context: Context, names: tuple[str, ...]) -> tuple[Line, ...]:
    modules = kernel_modules(context.snapshot)
    return commands.load(modules, [module for name in names for module in nearest(modules, name)])


def conntrack_module_missing(context: Context) -> Iterator[Found]:
    """A capability is needed that is proven to be neither there nor loadable."""
    possible = capabilities(context.snapshot)
    for names in _alike(context, (name for name in context.lacking if possible.get(name) is False)):
        yield Found(
            f"The rules of this host need {', '.join(names)}, which this kernel cannot do now.",
            "No module that provides it is loaded, and none can be loaded.",
            {**_evidence(context, names), "release": kernel_modules(context.snapshot).release},
            _load(context, names),
        )


def modules_directory_missing(context: Context) -> Iterator[Found]:
    """What is needed cannot be loaded, because the modules of this kernel are gone."""
    modules = kernel_modules(context.snapshot)
    if context.lacking and modules.directory_present is False:
        yield Found(
            f"/lib/modules/{modules.release} is missing: {', '.join(context.lacking)} cannot be"
            " loaded.",
            "The package of the running kernel was replaced without a reboot.",
            {"release": modules.release, "needed": ", ".join(context.lacking)},
            (shell.fixed("ls /lib/modules; uname -r"), REBOOT),
        )


def modules_locked(context: Context) -> Iterator[Found]:
    """What is needed cannot be loaded, because loading is disabled."""
    if context.lacking and kernel_modules(context.snapshot).locked:
        yield Found(
            f"kernel.modules_disabled is 1: {', '.join(context.lacking)} cannot be loaded.",
            "It cannot be reset before the next boot. Load all required modules before it is set.",
            {"kernel.modules_disabled": 1, "needed": ", ".join(context.lacking)},
            _load(context, context.lacking),
        )


def module_blocked(context: Context) -> Iterator[Found]:
    """What is needed is stopped by modprobe.d or the kernel command line."""
    blocked = capabilities_blocked(context.snapshot)
    for names in _alike(context, (name for name in context.lacking if blocked.get(name))):
        yield Found(
            f"modprobe.d or the kernel command line stops a module of {', '.join(names)}.",
            "An 'install' line that runs /bin/false, module_blacklist=, or a 'blacklist' line for a"
            " module that only an alias loads.",
            _evidence(context, names),
            _load(context, names),
        )
