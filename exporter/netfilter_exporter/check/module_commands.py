"""What brings one module to the kernel, whatever keeps it from being loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netfilter_exporter.check import shell
from netfilter_exporter.check.shell import Line, comment
from netfilter_exporter.kernel.modules.model import Module, Modules, ModuleState
from netfilter_exporter.kernel.modules.modprobe import Rule

#: States in which modprobe can load a module, once what stops it is gone.
LOADABLE = frozenset({ModuleState.AVAILABLE, ModuleState.BLOCKED})
REBOOT = shell.fixed("systemctl reboot")
BEFORE_REBOOT = comment(
    "modules can only be loaded after a reboot; systemd-modules-load runs before the lock"
)

#: Where packages put their files: a file of the same name in /etc/modprobe.d replaces one there.
_OF_PACKAGES = ("/usr/", "/lib/")
_MODPROBE_D = "/etc/modprobe.d"


def bring(modules: Modules, module: Module, booting: bool) -> Iterator[Line]:
    """Yield what loads a module, or what to do first; `booting`: nothing loads before a reboot."""
    state = module.state
    if state in LOADABLE and not booting:
        yield shell.command("modprobe", module.name)
    elif state is ModuleState.MERGED:
        yield comment(f"{module.name} is a part of {module.provided_by} in this kernel")
    elif state is ModuleState.ABSENT:
        yield from _absent(modules, module)
    elif state is ModuleState.UNSIGNED:
        yield comment(f"{', '.join(module.causes)}: no signature, and this kernel requires one:")
        yield comment("install the package of this kernel again, or sign it (sign-file, mokutil)")
    elif state is ModuleState.UNKNOWN and modules.loading:
        yield comment(f"if this kernel has it as a module: modprobe {module.name}")


def _absent(modules: Modules, module: Module) -> Iterator[Line]:
    if not modules.loading:
        yield comment(
            f"{module.name} is not in this kernel, which loads no modules: boot another kernel"
        )
    elif module.causes:  # modules.dep names it
        yield comment(f"{', '.join(module.causes)}: listed in modules.dep, absent on the disk:")
        yield comment("install the package of this kernel again, then run depmod")
    elif modules.directory_present is False:
        yield comment(f"/lib/modules/{modules.release} is gone: reboot into an installed kernel")
    else:
        yield comment(
            f"{module.name} is not on the disk. Some distributions package it separately:"
        )
        yield comment("linux-modules-extra (Ubuntu), kernel-modules-extra (Fedora, RHEL)")


def unblock(rules: Iterable[Rule]) -> tuple[Line, ...]:
    """Return what takes the lines out of modprobe.d, or off the kernel command line."""
    by_file: dict[str, list[Rule]] = {}
    for rule in dict.fromkeys(rules):
        by_file.setdefault(rule.file, []).append(rule)
    return tuple(line for file, of_file in by_file.items() for line in _unblock(file, of_file))


def _unblock(file: str, rules: list[Rule]) -> Iterator[Line]:
    for rule in rules:
        place = f"{file}:{rule.first}" if rule.first else "the kernel command line"
        yield comment(f"{place} stops it: {rule}")
    edits = [f"{rule.first},{rule.last}s/^/# /" for rule in rules if rule.first]
    if not edits:
        yield comment("remove it from that line, in the configuration of the boot loader")
        return
    target = file
    if file.startswith(_OF_PACKAGES):
        target = f"{_MODPROBE_D}/{file.rpartition('/')[2]}"
        yield shell.command("cp", file, target)
    yield shell.command("sed", "-i", *(word for edit in edits for word in ("-e", edit)), target)
