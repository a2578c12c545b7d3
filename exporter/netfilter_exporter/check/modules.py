"""Checks of modules: by what they make possible, never by their names."""

from __future__ import annotations

from collections.abc import Iterator

from netfilter_exporter.check import commands, shell
from netfilter_exporter.check.context import Context
from netfilter_exporter.check.findings import Found
from netfilter_exporter.check.shell import Line
from netfilter_exporter.facts.capabilities import capabilities, capabilities_blocked
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.kernel.modules.model import Modules

_REBOOT = shell.fixed("systemctl reboot")


def _states(modules: Modules, capability: str) -> dict[str, str | int]:
    names = commands.of_capability(modules, capability)
    return {name: modules.known[name].state.value for name in names if name in modules.known}


def conntrack_module_missing(context: Context) -> Iterator[Found]:
    """A capability is needed that is proven to be neither there nor loadable."""
    modules = kernel_modules(context.snapshot)
    for name in context.lacking:
        if capabilities(context.snapshot).get(name) is not False:
            continue
        needed = commands.of_capability(modules, name)
        yield Found(
            f"The rules of this host need {name}, which this kernel cannot do now.",
            "No module that does it is loaded, and none can be.",
            {"capability": name, "release": modules.release, **_states(modules, name)},
            (
                *commands.load(modules, needed),
                *_install(modules),
            ),
        )


def _install(modules: Modules) -> tuple[Line, ...]:
    """Return what brings modules that are not on the disk, or cannot be loaded."""
    if not modules.loading:
        return (shell.comment("this kernel loads no modules: boot one that has it built in"),)
    if modules.locked:
        return (shell.comment("kernel.modules_disabled is 1: that ends with a reboot"),)
    if modules.directory_present is False:
        return (shell.comment(f"/lib/modules/{modules.release} is gone: reboot"),)
    return (
        shell.comment("distributions keep some modules in a package of their own:"),
        shell.comment("linux-modules-extra (Ubuntu), kernel-modules-extra (Fedora, RHEL)"),
    )


def modules_directory_missing(context: Context) -> Iterator[Found]:
    """What is needed cannot be loaded, because the modules of this kernel are gone."""
    modules = kernel_modules(context.snapshot)
    if context.lacking and modules.directory_present is False:
        yield Found(
            f"/lib/modules/{modules.release} is missing: {', '.join(context.lacking)} cannot be"
            " loaded.",
            "The package of the running kernel was replaced, and the machine not rebooted.",
            {"release": modules.release, "needed": ", ".join(context.lacking)},
            (shell.fixed("ls /lib/modules; uname -r"), _REBOOT),
        )


def modules_locked(context: Context) -> Iterator[Found]:
    """What is needed cannot be loaded, because loading is switched off."""
    modules = kernel_modules(context.snapshot)
    if context.lacking and modules.locked:
        wanted = [m for name in context.lacking for m in commands.of_capability(modules, name)]
        yield Found(
            f"kernel.modules_disabled is 1: {', '.join(context.lacking)} cannot be loaded.",
            "It cannot be set back before the next boot. Load what is needed before it is set.",
            {"kernel.modules_disabled": 1, "needed": ", ".join(context.lacking)},
            (
                commands.load_at_boot(dict.fromkeys(wanted)),
                _REBOOT,
            ),
        )


def module_blocked(context: Context) -> Iterator[Found]:
    """What is needed is stopped by modprobe.d or the kernel command line."""
    modules = kernel_modules(context.snapshot)
    for name in context.lacking:
        if capabilities_blocked(context.snapshot).get(name):
            yield Found(
                f"modprobe.d or the kernel command line stops a module that {name} needs.",
                "An 'install' line that runs /bin/false, or module_blacklist=. The rules of this"
                " host need what it stops.",
                {"capability": name, **_states(modules, name)},
                commands.load(modules, commands.of_capability(modules, name)),
            )
