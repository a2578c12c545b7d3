"""Collector modules: where the modules of conntrack and NAT are, and what they make possible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netfilter_exporter.collectors.base import Collector, Metric, Sample, by_label, value
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


def _usable(snapshot: Snapshot) -> Mapping[str, bool | None]:
    modules = kernel_modules(snapshot)
    return {name: modules.usable(name) for name in modules.reported}


def _references(snapshot: Snapshot) -> Mapping[str, int | None]:
    return {name: module.references for name, module in kernel_modules(snapshot).info.items()}


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
            "Always 1. The labels are the kernel release, and whether the kernel can load modules"
            " (enabled) or was built without that (disabled).",
            source="/proc/sys/kernel/osrelease, /proc/modules",
            samples=_kernel_info,
            of=(kernel_modules,),
            labels=("release", "modules"),
        ),
        Metric(
            "kernel_modules_directory_present",
            "Whether /lib/modules has the modules of the running kernel (1) or not (0). Absent if"
            " the kernel needs none, or the directory is hidden from the exporter.",
            source="/lib/modules/RELEASE",
            samples=value(lambda s: _flag(kernel_modules(s).directory_present)),
        ),
        Metric(
            "kernel_modules_locked",
            "Whether loading modules is disabled until the next boot (1) or not (0).",
            source="/proc/sys/kernel/modules_disabled",
            samples=value(lambda s: int(kernel_modules(s).locked)),
        ),
        Metric(
            "kernel_module_signatures_enforced",
            "Whether the kernel refuses modules without a signature (1) or not (0). Absent if"
            " unknown.",
            source="/sys/module/module/parameters/sig_enforce, /sys/kernel/security/lockdown",
            samples=value(lambda s: _flag(kernel_modules(s).signatures)),
        ),
        Metric(
            "kernel_module_forced_unload",
            "Whether a module was removed by force since boot (1) or not (0). Stays 1 until the"
            " next boot.",
            source="/proc/sys/kernel/tainted (value 8)",
            samples=value(lambda s: int(kernel_modules(s).forced_unload)),
        ),
        Metric(
            "module_info",
            "1 for the state of a module: loaded, builtin, merged (an old module name; the code"
            " is now in the module that the label provided_by names), available, blocked,"
            " unsigned, absent, unknown.",
            source="/proc/modules, /lib/modules/RELEASE, the kernel's configuration, modprobe.d",
            samples=_module_info,
            of=(kernel_modules,),
            labels=("module", "state", "provided_by"),
        ),
        Metric(
            "module_usable",
            "Whether the code of a module is in the kernel now (1) or not (0): loaded, built in,"
            " or merged into a module that is loaded or built in. Absent if unknown.",
            source="as module_info",
            samples=by_label(_usable),
            of=(kernel_modules,),
            labels=("module",),
        ),
        Metric(
            "module_references",
            "Reference count of a loaded module. Does not show that anything is tracked.",
            source="/proc/modules",
            samples=by_label(_references),
            of=(kernel_modules,),
            labels=("module",),
            option=REFERENCES,
        ),
        Metric(
            "capability",
            "Whether the kernel has the capability now or can load its modules on demand (1), or"
            " neither (0). Absent if unknown.",
            source="as module_info",
            samples=by_label(capabilities),
            of=(capabilities,),
            labels=("capability",),
        ),
        Metric(
            "capability_blocked",
            "1 if modprobe.d or the kernel command line blocks a module that the capability"
            " requires and that is not loaded yet, else 0.",
            source="/etc/modprobe.d and its like, /proc/cmdline",
            samples=by_label(capabilities_blocked),
            of=(capabilities_blocked,),
            labels=("capability",),
        ),
        Metric(
            "capability_missing_module",
            "1 for a module whose absence makes a capability 0. reason is why the kernel cannot"
            " load it: blocked, locked, unsigned or absent.",
            source="as module_info",
            samples=_missing_modules,
            of=(capability_obstacles,),
            labels=("capability", "module", "reason"),
            bounded=True,
        ),
    ),
)
