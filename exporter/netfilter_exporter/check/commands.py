"""The commands that a remedy is made of: printed, never run.

Each line can be pasted into a root shell; what is not a command is a comment.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from netfilter_exporter.kernel.modules.capabilities import CAPABILITIES
from netfilter_exporter.kernel.modules.model import Module, Modules, ModuleState
from netfilter_exporter.kernel.sysctl import names as sysctl_names
from netfilter_exporter.rules.families import BOTH, IPV6, Backend, Family

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
    "xt_MASQUERADE",
    "ipt_MASQUERADE",
    "br_netfilter",
)

#: What tracking and NAT of a family are made of, in old kernels and in new ones.
OF_FAMILY = {
    Family.IPV4: ("nf_defrag_ipv4", "nf_conntrack", "nf_conntrack_ipv4", "nf_nat", "nf_nat_ipv4"),
    Family.IPV6: ("nf_defrag_ipv6", "nf_conntrack", "nf_conntrack_ipv6", "nf_nat", "nf_nat_ipv6"),
}


def comment(text: str) -> str:
    return f"# {text}"


# -- modules -----------------------------------------------------------------------------------


def load(modules: Modules, names: Iterable[str]) -> tuple[str, ...]:
    """Return what loads those of `names` that are not there, now and at the next boot."""
    wanted = set(names)
    ordered = [name for name in LOAD_ORDER if name in wanted]
    ordered += sorted(wanted.difference(ordered))
    found = [modules.known[name] for name in ordered if name in modules.known]
    lines = tuple(line for module in found for line in _module(modules, module))
    loadable = [m.name for m in found if m.state is ModuleState.AVAILABLE]
    if loadable and not modules.locked:
        lines += (f"printf '%s\\n' {' '.join(loadable)} >> {MODULES_FILE}",)
    return lines


def _module(modules: Modules, module: Module) -> Iterator[str]:
    state = module.state
    if state is ModuleState.AVAILABLE and modules.locked:
        yield comment(f"{module.name} can only be loaded after a reboot")
    elif state is ModuleState.AVAILABLE:
        yield f"modprobe {module.name}"
    elif state is ModuleState.MERGED:
        yield comment(f"{module.name} is a part of {module.provided_by} in this kernel")
    elif state is ModuleState.BLOCKED:
        yield f"grep -rsw -e {module.name} /etc/modprobe.d /run/modprobe.d /lib/modprobe.d"
        yield comment(f"remove the line that stops {module.name}, then: modprobe {module.name}")
    elif state is ModuleState.UNKNOWN and modules.loading:
        yield comment(f"if this kernel has it as a module: modprobe {module.name}")


def of_capability(modules: Modules, name: str) -> tuple[str, ...]:
    """Return the modules that bring a capability to this kernel, or the nearest it has to them."""
    sets = CAPABILITIES[name]

    def lacking(names: Sequence[str]) -> int:
        return sum(modules.possible(module) is False for module in names)

    return min(sets, key=lacking)


def persist_module(modules: Modules, name: str) -> tuple[str, ...]:
    """Return what loads a module before systemd-sysctl writes what belongs to it."""
    module = modules.known.get(name)
    if module is None or module.state not in {ModuleState.LOADED, ModuleState.AVAILABLE}:
        return ()
    return (
        comment(f"{name} is a module: load it before systemd-sysctl runs, else the value is lost"),
        f"echo {name} >> {MODULES_FILE}",
    )


# -- sysctls -----------------------------------------------------------------------------------


def set_sysctl(name: str, value: int, modules: Modules | None = None) -> tuple[str, ...]:
    """Return what sets a sysctl, now and at the next boot; `modules` where one brings it."""
    lines = (
        f"sysctl -w {shlex.quote(f'{name}={value}')}",
        f"echo {shlex.quote(f'{name} = {value}')} >> {SYSCTL_FILE}",
    )
    if modules is None:
        return lines
    key = sysctl_names.to_key(name)
    if key.startswith(sysctl_names.CONNTRACK):
        return lines + persist_module(modules, "nf_conntrack")
    if key.startswith("net/bridge/"):
        return lines + persist_module(modules, "br_netfilter")
    return lines


# -- rules -------------------------------------------------------------------------------------


def nft_family(families: frozenset[Family]) -> str:
    """Return the word that nft has for the family of a table."""
    if families == BOTH:
        return "inet"
    return "ip6" if families == IPV6 else "ip"


def iptables(families: frozenset[Family]) -> str:
    """Return the command for the legacy tables of a family."""
    return "ip6tables-legacy" if families == IPV6 else "iptables-legacy"


def where(backend: Backend, families: frozenset[Family], table: str) -> str:
    """Return a table as a person calls it."""
    if backend is Backend.NFTABLES:
        return f"table {nft_family(families)} {table}"
    return f"{iptables(families)} table {table}"


class Place(NamedTuple):
    """A chain."""

    backend: Backend
    families: frozenset[Family]  #: of its table
    table: str
    chain: str


def unhide(place: Place, position: int, handle: int | None, described: str) -> tuple[str, ...]:
    """Return what makes rules behind rule `position` reachable: it goes, or they come before it.

    `handle` is nftables' handle of that rule; without it, it is to be looked up.
    """
    table, chain = shlex.quote(place.table), shlex.quote(place.chain)
    known = place.backend is Backend.LEGACY or handle is not None
    if place.backend is Backend.NFTABLES:
        spot = f"{nft_family(place.families)} {table} {chain} handle {handle or 'HANDLE'}"
        delete, insert = f"nft delete rule {spot}", f"nft insert rule {spot} ..."
    else:
        tool = f"{iptables(place.families)} -t {table}"
        delete, insert = f"{tool} -D {chain} {position}", f"{tool} -I {chain} {position} ..."
    return (
        *list_rules(*place),
        comment(f"either delete rule {position} ({described}):"),
        delete if known else comment(delete),
        comment("or put the translating rules before it:"),
        comment(insert),
    )


def list_notrack(backend: Backend, family: Family) -> str:
    """Return what lists the rules that exempt packets from tracking."""
    if backend is Backend.NFTABLES:
        return "nft -a list ruleset | grep -n notrack"
    return f"{iptables(frozenset({family}))} -t raw -S"


def list_rules(
    backend: Backend, families: frozenset[Family], table: str, chain: str
) -> tuple[str, ...]:
    """Return what lists a chain with the numbers that deleting needs."""
    table, chain = shlex.quote(table), shlex.quote(chain)
    if backend is Backend.NFTABLES:
        return (f"nft -a list chain {nft_family(families)} {table} {chain}",)
    return (f"{iptables(families)} -t {table} -L {chain} -n -v --line-numbers",)
