"""What the kernel can do for NAT, whatever the modules that do it are called."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from netfilter_exporter.kernel.modules.model import Modules, ModuleState

#: Of each capability, the sets of modules any of which is enough. A module that another cannot be
#: loaded without is not repeated: modprobe brings it, and is stopped where it is stopped.
CAPABILITIES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    # Until they were merged, nf_conntrack asked for its IPv4 half only when it was needed.
    "conntrack": (("nf_conntrack", "nf_conntrack_ipv4"),),
    "defrag_ipv4": (("nf_defrag_ipv4",),),
    "defrag_ipv6": (("nf_defrag_ipv6",),),
    "conntrack_netlink": (("nfnetlink", "nf_conntrack_netlink"),),
    "nat": (("nf_nat",),),
    "nat_legacy_ipv4": (("ip_tables", "iptable_nat"),),
    "nat_legacy_ipv6": (("ip6_tables", "ip6table_nat"),),
    "nat_nftables": (("nf_tables", "nft_chain_nat"), ("nf_tables", "nft_chain_nat_ipv4")),
    "masquerade_legacy": (("xt_MASQUERADE",), ("ipt_MASQUERADE",)),
    # iptables-nft writes the legacy target into nftables.
    "masquerade_nftables": (
        ("nft_masq", "nft_masq_ipv4"),
        ("nft_compat", "xt_MASQUERADE"),
        ("nft_compat", "ipt_MASQUERADE"),
    ),
    "hook_dump": (("nfnetlink", "nfnetlink_hook"),),
}


@functools.lru_cache(maxsize=1)
def evaluate(modules: Modules) -> Mapping[str, bool | None]:
    """Return for each capability whether it is usable or loadable on demand; None: cannot tell."""
    return {
        name: _any(_all(modules.possible(module) for module in names) for names in sets)
        for name, sets in CAPABILITIES.items()
    }


def blocked(modules: Modules, capabilities: Mapping[str, bool | None]) -> dict[str, bool]:
    """Return for each of `capabilities` whether a module that it lacks is stopped from loading.

    A capability is left out where that cannot be told: modprobe.d may not be in sight.
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
