"""What the kernel can do for NAT, whatever the modules that do it are called."""

from __future__ import annotations

from collections.abc import Mapping

from netfilter_exporter.kernel.modules import Modules

#: Of each capability, the sets of modules any of which is enough.
CAPABILITIES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "conntrack": (("nf_conntrack",),),
    "conntrack_netlink": (("nfnetlink", "nf_conntrack_netlink"),),
    "nat": (("nf_nat",),),
    "hook_dump": (("nfnetlink", "nfnetlink_hook"),),
}


def evaluate(modules: Modules) -> dict[str, bool | None]:
    """Return for each capability whether it is usable or loadable on demand; None: cannot tell."""
    return {
        name: True if all(modules.usable(m) for m in sets[0]) else None
        for name, sets in CAPABILITIES.items()
    }


def blocked(modules: Modules) -> dict[str, bool]:
    """Return for each capability whether a module of it is stopped from being loaded."""
    return dict.fromkeys(CAPABILITIES, False)
