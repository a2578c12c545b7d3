"""Facts about engines that are out of scope: they translate without connection tracking's NAT."""

from __future__ import annotations

from collections.abc import Mapping

from netfilter_exporter.facts.forwarding import interfaces
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.facts.rulesets import rulesets
from netfilter_exporter.facts.snapshot import Snapshot, fact
from netfilter_exporter.kernel.modules.model import Modules
from netfilter_exporter.rules.families import Family

#: By engine: the modules that it is made of, whose references are rules or actions of its users.
_REFERENCED = {"tc": ("act_ct", "act_nat")}
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


@fact
def stateless_nat(snapshot: Snapshot) -> frozenset[Family]:
    """The families of which a rule writes addresses into packets; of rulesets that were read."""
    return frozenset(
        family
        for ruleset in rulesets(snapshot)
        if ruleset.facts is not None
        for family in ruleset.facts.rewritten
    )


def _referenced(modules: Modules, names: tuple[str, ...]) -> bool | None:
    """Return whether a module is in use; None where it is built in, or unknown."""
    usable = [modules.usable(name) for name in names]
    references = [modules.known[name].references for name in names]
    if any(references):
        return True
    counted = all(u is False or r is not None for u, r in zip(usable, references))
    return False if counted else None
