"""What the kernel can do for NAT, whatever the modules that do it are called."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from netfilter_exporter.kernel.modules.model import Module, Modules, ModuleState

#: Of each capability, the sets of modules any of which is enough. A module that another cannot be
#: loaded without is not repeated: modprobe brings it, and is stopped where it is stopped.
CAPABILITIES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    # Until they were merged, nf_conntrack requested its IPv4 half only when it was needed.
    "conntrack": (("nf_conntrack", "nf_conntrack_ipv4"),),
    "defrag_ipv4": (("nf_defrag_ipv4",),),
    "defrag_ipv6": (("nf_defrag_ipv6",),),
    "conntrack_netlink": (("nfnetlink", "nf_conntrack_netlink"),),
    "nat": (("nf_nat",),),
    "nat_legacy_ipv4": (("ip_tables", "iptable_nat"),),
    "nat_legacy_ipv6": (("ip6_tables", "ip6table_nat"),),
    "nat_nftables": (("nf_tables", "nft_chain_nat"), ("nf_tables", "nft_chain_nat_ipv4")),
    # iptables-nft writes the targets of iptables into nftables.
    "targets_nftables": (("nf_tables", "nft_compat"),),
    # What a rule does, by who does it: a target of iptables, or an expression of nftables.
    "masquerade_legacy": (("xt_MASQUERADE",), ("ipt_MASQUERADE",)),
    "snat_legacy": (("xt_nat",),),
    "dnat_legacy": (("xt_nat",),),
    "redirect_legacy": (("xt_REDIRECT",),),
    "netmap_legacy": (("xt_NETMAP",),),
    "masquerade_nftables": (("nft_masq", "nft_masq_ipv4"),),
    "snat_nftables": (("nft_nat",),),
    "dnat_nftables": (("nft_nat",),),
    "redirect_nftables": (("nft_redir", "nft_redir_ipv4"),),
    "netmap_nftables": (("nft_nat",),),
    "bridge_netfilter": (("br_netfilter",),),
    "ipvs": (("ip_vs",),),
    "hook_dump": (("nfnetlink", "nfnetlink_hook"),),
}


#: Without which no rule is ever lost: they list, or serve bridges and IPVS.
_NOT_OF_RULES = frozenset({"conntrack_netlink", "bridge_netfilter", "ipvs", "hook_dump"})
#: What it takes to load one NAT rule or another.
OF_RULES = tuple(name for name in CAPABILITIES if name not in _NOT_OF_RULES)


class Obstacle(NamedTuple):
    """A module without which a capability is impossible, and why the kernel cannot load it."""

    module: str
    reason: str  #: blocked, locked, unsigned or absent


@functools.lru_cache(maxsize=1)
def evaluate(modules: Modules) -> Mapping[str, bool | None]:
    """Return for each capability whether it is usable or loadable on demand; None: unknown."""
    return {
        name: _any(_all(modules.possible(module) for module in names) for names in sets)
        for name, sets in CAPABILITIES.items()
    }


def blocked(modules: Modules, capabilities: Mapping[str, bool | None]) -> dict[str, bool]:
    """Return for each of `capabilities` whether a module that it lacks is stopped from loading.

    A capability is left out if that is unknown: modprobe.d may not be in sight.
    """
    found = {}
    for name, possible in capabilities.items():
        stopped = any(
            modules.known[module].state is ModuleState.BLOCKED
            for names in CAPABILITIES[name]
            for module in names
        )
        if modules.modprobe_readable or stopped or not modules.loading:
            found[name] = stopped and possible is not True
    return found


def nearest(modules: Modules, name: str) -> tuple[str, ...]:
    """Return the modules that bring a capability to this kernel, or the nearest it has to them."""

    def lacking(names: tuple[str, ...]) -> int:
        return sum(modules.possible(module) is False for module in names)

    return min(CAPABILITIES[name], key=lacking)


def obstacles(modules: Modules, name: str) -> tuple[Obstacle, ...]:
    """Return what stands in the way of a capability: nothing where it is, or may be, possible."""
    if evaluate(modules)[name] is not False:
        return ()
    impossible = (m for m in nearest(modules, name) if modules.possible(m) is False)
    found = (each for module in impossible for each in _reasons(modules, module))
    return tuple(dict.fromkeys(found))


def _reasons(modules: Modules, name: str) -> Iterator[Obstacle]:
    module = _provider(modules, name)
    if module.state is ModuleState.AVAILABLE:  # and yet impossible
        yield Obstacle(module.name, "locked")
    else:
        yield from (
            Obstacle(cause, module.state.value) for cause in module.causes or (module.name,)
        )


def _provider(modules: Modules, name: str) -> Module:
    """Return the module that has the code of `name`."""
    module = modules.known[name]
    while module.state is ModuleState.MERGED and module.provided_by in modules.known:
        module = modules.known[module.provided_by]
    return module


def _all(answers: Iterable[bool | None]) -> bool | None:
    answers = tuple(answers)
    if False in answers:
        return False
    return None if None in answers else True


def _any(answers: Iterable[bool | None]) -> bool | None:
    answers = tuple(answers)
    if True in answers:
        return True
    return None if None in answers else False
