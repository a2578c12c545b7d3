"""Collector modules: where the modules of conntrack and NAT are, and what they make possible."""

from __future__ import annotations

from collections.abc import Iterable

from netfilter_exporter.collectors.base import Collector, Metric, Sample, value
from netfilter_exporter.facts.capabilities import (
    capabilities,
    capabilities_blocked,
    capability_obstacles,
)
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.facts.snapshot import Snapshot

REFERENCES = "modules.references"


def _flag(read: bool | None) -> int | None:
    return None if read is None else int(read)


def _kernel_info(snapshot: Snapshot) -> Iterable[Sample]:
    modules = kernel_modules(snapshot)
    yield (modules.release, "enabled" if modules.loading else "disabled"), 1


def _module_info(snapshot: Snapshot) -> Iterable[Sample]:
    for module in kernel_modules(snapshot).info.values():
        yield (module.name, module.state.value, module.provided_by), 1


def _module_usable(snapshot: Snapshot) -> Iterable[Sample]:
    modules = kernel_modules(snapshot)
    for name in modules.reported:
        usable = modules.usable(name)
        if usable is not None:
            yield (name,), int(usable)


def _module_references(snapshot: Snapshot) -> Iterable[Sample]:
    for module in kernel_modules(snapshot).info.values():
        if module.references is not None:
            yield (module.name,), module.references


def _capability(snapshot: Snapshot) -> Iterable[Sample]:
    for name, possible in capabilities(snapshot).items():
        if possible is not None:
            yield (name,), int(possible)


def _capability_blocked(snapshot: Snapshot) -> Iterable[Sample]:
    for name, blocked in capabilities_blocked(snapshot).items():
        yield (name,), int(blocked)


def _missing_modules(snapshot: Snapshot) -> Iterable[Sample]:
    for capability, obstacles in capability_obstacles(snapshot).items():
        for module, reason in obstacles:
            yield (capability, module, reason), 1


COLLECTOR = Collector(
    "modules",
    "kernel modules of conntrack and NAT, by what they can do rather than by name",
    options={REFERENCES: "serve the reference count of each module"},
    budget=105,
    metrics=(
        Metric(
            "kernel_info",
            "The running kernel, and whether it can load modules (enabled) or was built without"
            " that (disabled).",
            source="/proc/sys/kernel/osrelease, /proc/modules",
            samples=_kernel_info,
            of=(kernel_modules,),
            labels=("release", "modules"),
        ),
        Metric(
            "kernel_modules_directory_present",
            "Whether /lib/modules has the modules of the running kernel; absent where the kernel"
            " needs none, or the directory is hidden from the exporter.",
            source="/lib/modules/RELEASE",
            samples=value(lambda s: _flag(kernel_modules(s).directory_present)),
        ),
        Metric(
            "kernel_modules_locked",
            "Whether loading modules was switched off until the next boot.",
            source="/proc/sys/kernel/modules_disabled",
            samples=value(lambda s: int(kernel_modules(s).locked)),
        ),
        Metric(
            "kernel_module_signatures_enforced",
            "Whether the kernel refuses modules without a signature; absent where that cannot be"
            " seen.",
            source="/sys/module/module/parameters/sig_enforce, /sys/kernel/security/lockdown",
            samples=value(lambda s: _flag(kernel_modules(s).signatures)),
        ),
        Metric(
            "kernel_module_forced_unload",
            "Whether a module was removed by force since the boot; it stays 1 until the next.",
            source="/proc/sys/kernel/tainted (value 8)",
            samples=value(lambda s: int(kernel_modules(s).forced_unload)),
        ),
        Metric(
            "module_info",
            "Where a module is: loaded, builtin, merged (a retired name, its code is in"
            " provided_by), available, blocked, unsigned, absent, unknown.",
            source="/proc/modules, /lib/modules/RELEASE, the kernel's configuration, modprobe.d",
            samples=_module_info,
            of=(kernel_modules,),
            labels=("module", "state", "provided_by"),
        ),
        Metric(
            "module_usable",
            "Whether the code of a module is in the kernel now: loaded, built in, or merged into"
            " a module that is; absent where it cannot be told.",
            source="as module_info",
            samples=_module_usable,
            of=(kernel_modules,),
            labels=("module",),
        ),
        Metric(
            "module_references",
            "Modules and users that hold a loaded module. Not a sign of tracking.",
            source="/proc/modules",
            samples=_module_references,
            of=(kernel_modules,),
            labels=("module",),
            option=REFERENCES,
        ),
        Metric(
            "capability",
            "Whether the kernel can do it now or loads on demand what does (1); 0 only when"
            " neither is possible; absent where it cannot be told.",
            source="as module_info",
            samples=_capability,
            of=(capabilities,),
            labels=("capability",),
        ),
        Metric(
            "capability_blocked",
            "Whether modprobe.d or the kernel command line stops a module that the capability"
            " lacks.",
            source="/etc/modprobe.d and its like, /proc/cmdline",
            samples=_capability_blocked,
            of=(capabilities_blocked,),
            labels=("capability",),
        ),
        Metric(
            "capability_missing_module",
            "1 for a module that an impossible capability lacks, and the reason why the kernel"
            " cannot load it: blocked, locked, unsigned, or absent.",
            source="as module_info",
            samples=_missing_modules,
            of=(capability_obstacles,),
            labels=("capability", "module", "reason"),
            bounded=True,
        ),
    ),
)
