"""facts/engines.py: engines that translate without connection tracking's NAT."""

from netfilter_exporter.facts import engines
from netfilter_exporter.facts.forwarding import interfaces
from netfilter_exporter.facts.modules import kernel_modules
from support.facts import snapshot_of
from support.modules import make


def seen(names=("lo",), **states):
    """Return the engines that are seen with these modules and interfaces."""
    facts = {kernel_modules: make(**states), interfaces: {n: i for i, n in enumerate(names, 1)}}
    return engines.other_engines(snapshot_of(facts))


def test_modules_that_nothing_uses_are_no_engine():
    """A reference to act_ct is an action."""
    absent = {"tc": False, "openvswitch": False}
    assert seen() == absent
    assert seen(act_ct="loaded") == {**absent, "tc": True}
    assert seen(openvswitch="loaded") == {**absent, "openvswitch": True}
    assert seen(act_nat="available", openvswitch="available") == absent


def test_what_cannot_be_counted_is_left_out():
    """A part of the kernel has no references."""
    assert "tc" not in seen(act_ct="builtin")
    assert "tc" not in seen(act_nat="unknown")


def test_cilium():
    """Its interface is a sign; without it BPF programs are not seen."""
    assert seen(("lo", "cilium_host"))["ebpf"] is True
    assert "ebpf" not in seen()
