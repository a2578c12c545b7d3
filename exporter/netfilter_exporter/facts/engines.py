"""Facts about engines that are out of scope: they translate without a rule that is read."""

from __future__ import annotations

from collections.abc import Mapping

from netfilter_exporter.facts.forwarding import interfaces
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.facts.snapshot import Snapshot, fact
from netfilter_exporter.kernel.modules.model import Modules

#: By engine: the modules that it is made of, whose references are rules or actions of its users.
_REFERENCED = {"tc": ("act_ct", "act_nat"), "nptv6": ("ip6t_NPT",)}
#: An interface of Cilium's, which translates in BPF programs.
_CILIUM = "cilium_host"


@fact
def other_engines(snapshot: Snapshot) -> Mapping[str, bool]:
    """Whether each engine that is out of scope is in use, where that can be seen."""
    modules = kernel_modules(snapshot)
    found = {name: _referenced(modules, names) for name, names in _REFERENCED.items()}
    found["openvswitch"] = modules.usable("openvswitch") if modules.loading else None
    found["ebpf"] = True if _CILIUM in interfaces(snapshot) else None
    return {name: used for name, used in found.items() if used is not None}


def _referenced(modules: Modules, names: tuple[str, ...]) -> bool | None:
    """Return whether a module is in use; None where it is built in, or unknown."""
    usable = [modules.usable(name) for name in names]
    references = [modules.known[name].references for name in names]
    if any(references):
        return True
    counted = all(u is False or r is not None for u, r in zip(usable, references))
    return False if counted else None
