"""The commands that a remedy is made of: printed, never run.

Each line can be pasted into a root shell; what is not a command is a comment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Union

from netfilter_exporter.check import iptables_commands, module_commands, nft_commands, shell
from netfilter_exporter.check.shell import Line, comment
from netfilter_exporter.kernel.modules.model import Module, Modules, ModuleState
from netfilter_exporter.kernel.modules.modprobe import Rule
from netfilter_exporter.kernel.sysctl import names as sysctl_names
from netfilter_exporter.kernel.sysctl import sysctl_d
from netfilter_exporter.rules.families import Backend, Family

#: Sorts behind the files that distributions and programs put there: the last one wins.
SYSCTL_FILE = "/etc/sysctl.d/zz-netfilter.conf"
MODULES_FILE = "/etc/modules-load.d/netfilter.conf"

#: modprobe finds this order itself; insmod, and a person who reads, do not.
LOAD_ORDER = (
    "nfnetlink",
    "nf_defrag_ipv4",
    "nf_defrag_ipv6",
    "nf_conntrack",
    "nf_conntrack_ipv4",
    "nf_conntrack_ipv6",
    "nf_conntrack_netlink",
    "nf_nat",
    "nf_nat_ipv4",
    "nf_nat_ipv6",
    "ip_tables",
    "ip6_tables",
    "iptable_nat",
    "ip6table_nat",
    "nf_tables",
    "nft_chain_nat",
    "nft_chain_nat_ipv4",
    "nft_compat",
    "nft_masq",
    "nft_masq_ipv4",
    "nft_nat",
    "nft_redir",
    "nft_redir_ipv4",
    "xt_MASQUERADE",
    "ipt_MASQUERADE",
    "xt_nat",
    "xt_REDIRECT",
    "xt_NETMAP",
    "br_netfilter",
)

#: What tracking and NAT of a family are made of, in old kernels and in new ones.
OF_FAMILY = {
    Family.IPV4: ("nf_defrag_ipv4", "nf_conntrack", "nf_conntrack_ipv4", "nf_nat", "nf_nat_ipv4"),
    Family.IPV6: ("nf_defrag_ipv6", "nf_conntrack", "nf_conntrack_ipv6", "nf_nat", "nf_nat_ipv6"),
}


# -- modules -----------------------------------------------------------------------------------


def load(modules: Modules, names: Iterable[str]) -> tuple[Line, ...]:
    """Return what brings those of `names` that the kernel lacks, now and at the next boot.

    What stops one of them goes first. Where the kernel loads nothing before it boots again, a
    reboot comes last.
    """
    wanted = set(names)
    ordered = [name for name in LOAD_ORDER if name in wanted]
    ordered += sorted(wanted.difference(ordered))
    found = [modules.known[name] for name in ordered if name in modules.known]
    rules = [rule for module in found for rule in _stops(modules, module)]
    booting = modules.locked or any(rule.of_kernel for rule in rules)
    lines = (
        *module_commands.unblock(rules),
        *(line for module in found for line in module_commands.bring(modules, module, booting)),
    )
    loadable = [m.name for m in found if m.state in module_commands.LOADABLE]
    if loadable:
        lines += (load_at_boot(loadable),)
        lines += (module_commands.BEFORE_REBOOT, module_commands.REBOOT) if booting else ()
    return lines


def _stops(modules: Modules, module: Module) -> Iterator[Rule]:
    if module.state is ModuleState.BLOCKED:
        for cause in module.causes:
            yield from modules.stops.get(cause, ())


def loads_any(lines: Iterable[Line]) -> bool:
    """Return whether one of `lines` loads a module."""
    return any(line.startswith("modprobe ") for line in lines)


def load_at_boot(names: Iterable[str]) -> Line:
    """Return what makes systemd load these modules at the next boot."""
    return shell.append(MODULES_FILE, *names)


# -- sysctls -----------------------------------------------------------------------------------


def set_sysctl(name: str, value: int, modules: Modules | None = None) -> tuple[Line, ...]:
    """Return what sets a sysctl, now and at the next boot; `modules` where one brings it."""
    lines = (write_sysctl(name, value), _write_at_boot(name, value))
    return lines if modules is None else lines + bring_at_boot(name, modules)


def write_sysctl(name: str, value: int) -> Line:
    """Return what sets a sysctl now."""
    if "=" in name:  # an interface's name can hold one, and sysctl(8) ends a name there
        return shell.write(f"/proc/sys/{sysctl_names.to_key(name)}", str(value))
    return shell.command("sysctl", "-w", f"{name}={value}")


def _write_at_boot(name: str, value: int) -> Line:
    if "=" in name or sysctl_d.is_glob(name):
        return comment(f"sysctl.d cannot hold the name {name}")
    return shell.append(SYSCTL_FILE, f"{name} = {value}")


def bring_at_boot(name: str, modules: Modules) -> tuple[Line, ...]:
    """Return what loads the module of a sysctl before systemd-sysctl writes it."""
    module = modules.known.get(sysctl_names.module(sysctl_names.to_key(name)) or "")
    if module is None or module.state not in {ModuleState.LOADED, ModuleState.AVAILABLE}:
        return ()
    why = f"{module.name} is a module: load it before systemd-sysctl runs, else the value is lost"
    return (comment(why), load_at_boot([module.name]))


# -- interfaces --------------------------------------------------------------------------------

LIST_INTERFACES = shell.fixed("ip -br link")
_LIST_RULESET = shell.fixed("nft list ruleset")
_LISTS = {
    Family.IPV4: shell.fixed("iptables-legacy-save -t nat"),
    Family.IPV6: shell.fixed("ip6tables-legacy-save -t nat"),
}


def list_naming(interface: str, rulesets: Iterable[tuple[Backend, Family]]) -> tuple[Line, ...]:
    """Return what lists the rules of these rulesets that name an interface."""
    return tuple(sorted({_list_naming(interface, *ruleset) for ruleset in rulesets}))


def _list_naming(interface: str, backend: Backend, family: Family) -> Line:
    if backend is Backend.LEGACY:
        return shell.pipe(_LISTS[family], _grep(interface))
    # nft escapes an asterisk at the end: bare it is a wildcard.
    literal = f"{interface[:-1]}\\*" if interface.endswith("*") else interface
    return shell.pipe(_LIST_RULESET, _grep(literal))


def _grep(text: str) -> Line:
    return shell.command("grep", "-anF", "-e", text)


def list_naming_index(index: str) -> Line:
    """Return what lists the rules that name an interface by its number."""
    return shell.pipe(_LIST_RULESET, shell.command("grep", "-nE", "-e", rf"[io]if {index}\b"))


def rename_interface(name: str) -> tuple[Line, ...]:
    """Return what gives an interface the name that rules expect, as a comment."""
    if "%" in name:  # the kernel puts a number there: dev_alloc_name in net/core/dev.c
        return (comment("no interface can have that name: write another one into these rules"),)
    return (
        comment("bring it up, or write the new name into these rules, or:"),
        shell.commented(shell.command("ip", "link", "set", "dev", "NAME", "name", name)),
    )


# -- rules -------------------------------------------------------------------------------------

#: A chain of either backend, or a rule of it.
Place = Union[nft_commands.Target, iptables_commands.Target]


def where(backend: Backend, families: frozenset[Family], table: str) -> str:
    """Return a table as a person calls it."""
    if backend is Backend.NFTABLES:
        return f"table {nft_commands.family(families)} {table}"
    return f"{iptables_commands.tool(families)} table {table}"


def unhide(
    place: Place, position: int, described: str, *, translates: bool = False
) -> tuple[Line, ...]:
    """Return what makes rules behind the rule at `place` reachable: it goes, or they move up.

    A rule that `translates` may be needed for other packets.
    """
    if translates:
        return (
            *place.list_rules(),
            comment(f"put the rules that it hides before rule {position} ({described}):"),
            *place.insert_rule(),
            comment("or, if its target is gone, delete it:"),
            *place.delete_rule(),
        )
    return (
        *place.list_rules(),
        comment(f"do one of these: delete rule {position} ({described}),"),
        *place.delete_rule(),
        comment("or put the NAT rules before it:"),
        *place.insert_rule(),
    )


def list_notrack(backend: Backend, family: Family) -> Line:
    """Return what lists the rules that exempt packets from tracking."""
    if backend is Backend.NFTABLES:
        return shell.fixed("nft -a list ruleset | grep -n notrack")
    return shell.command(iptables_commands.tool(frozenset({family})), "-t", "raw", "-S")


def move_to_nftables(family: Family) -> tuple[Line, ...]:
    """Return what lists the rules of both backends, and moves those of the legacy tables."""
    tool = "iptables" if family is Family.IPV4 else "ip6tables"
    save = _LISTS[family]
    restore = shell.command(f"{tool}-nft-restore", "--noflush")
    alternative = ("update-alternatives", "--set", tool, f"/usr/sbin/{tool}-nft")
    return (
        save,
        _LIST_RULESET,
        comment(
            "move the rules that are still required to nftables, then empty the other backend:"
        ),
        shell.commented(shell.pipe(save, restore)),
        shell.commented(shell.command(f"{tool}-legacy", "-t", "nat", "-F")),
        comment("and let all programs use the same backend:"),
        shell.commented(shell.command(*alternative)),
    )
