"""kernel/modules/capabilities.py: 0 only when proven impossible, nothing where it is unknown."""

from __future__ import annotations

import pytest

from netfilter_exporter.collectors import modules as collector
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.kernel.modules.capabilities import CAPABILITIES, blocked, evaluate
from netfilter_exporter.kernel.modules.history import ROWS
from netfilter_exporter.kernel.modules.model import Module, Modules, ModuleState
from support.facts import snapshot_of

STATES = {state.value: state for state in ModuleState}


def make(*, loading=True, locked=False, modprobe=True, **states: str) -> Modules:
    """Return modules with `states` by name, absent otherwise; "merged:X" is merged into X."""
    known = {name: Module(name, ModuleState.ABSENT) for name in ROWS}
    for name, text in states.items():
        state, _, successor = text.partition(":")
        known[name] = Module(name, STATES[state], successor, 3 if state == "loaded" else None)
    return Modules("6.1", loading, locked, True, False, modprobe, known, tuple(states))


@pytest.mark.parametrize(
    ("core", "half", "possible"),
    [
        ("loaded", "merged:nf_conntrack", True),
        ("builtin", "merged:nf_conntrack", True),
        ("available", "merged:nf_conntrack", True),
        ("loaded", "loaded", True),
        ("loaded", "available", True),
        ("loaded", "absent", False),
        ("loaded", "blocked", False),
        ("loaded", "unknown", None),
        ("absent", "unknown", False),
        ("unknown", "unknown", None),
        ("blocked", "merged:nf_conntrack", False),
    ],
)
def test_conntrack(core: str, half: str, possible: bool | None):
    """Tracking IPv4 takes the core and its IPv4 half, wherever that is."""
    modules = make(nf_conntrack=core, nf_conntrack_ipv4=half)
    assert evaluate(modules)["conntrack"] is possible


@pytest.mark.parametrize(
    ("name", "states"),
    [
        ("masquerade_legacy", {"xt_MASQUERADE": "loaded"}),
        ("masquerade_legacy", {"ipt_MASQUERADE": "available"}),
        ("nat_nftables", {"nf_tables": "loaded", "nft_chain_nat": "available"}),
        ("nat_nftables", {"nf_tables": "loaded", "nft_chain_nat_ipv4": "loaded"}),
        ("masquerade_nftables", {"nft_masq": "loaded", "nft_masq_ipv4": "merged:nft_masq"}),
        ("masquerade_nftables", {"nft_masq": "loaded", "nft_masq_ipv4": "available"}),
        ("masquerade_nftables", {"nft_compat": "loaded", "xt_MASQUERADE": "available"}),
        (
            "hook_dump",
            {
                "nfnetlink": "merged:netfilter",
                "netfilter": "builtin",
                "nfnetlink_hook": "available",
            },
        ),
    ],
)
def test_old_and_new_names_are_alternatives(name: str, states: dict[str, str]):
    """Any of the sets of modules is enough, and without any of them the capability is gone."""
    assert evaluate(make(**states))[name] is True
    assert evaluate(make())[name] is False


def test_unknown_alternatives_leave_it_open():
    """One absent name proves nothing while the other cannot be told."""
    modules = make(xt_MASQUERADE="absent", ipt_MASQUERADE="unknown")
    assert evaluate(modules)["masquerade_legacy"] is None


@pytest.mark.parametrize("where", [{"locked": True}, {"loading": False}])
def test_nothing_is_on_demand_where_nothing_can_be_loaded(where: dict[str, bool]):
    """With modules_disabled=1 only what is in the kernel counts."""
    assert evaluate(make(nf_nat="available", **where))["nat"] is False
    assert evaluate(make(nf_nat="loaded", **where))["nat"] is True


def test_blocked():
    """A block is told of while the capability lacks the module, and not where it does not."""
    modules = make(nf_nat="blocked", xt_MASQUERADE="blocked", ipt_MASQUERADE="loaded")
    found = blocked(modules, evaluate(modules))
    assert found["nat"] is True
    assert found["masquerade_legacy"] is False
    assert found["conntrack"] is False
    assert set(found) == set(CAPABILITIES)


def test_without_modprobe_d_only_a_block_that_is_seen_counts():
    """A container that sees no modprobe.d must not say that nothing is blocked."""
    modules = make(modprobe=False, nf_nat="blocked")
    assert blocked(modules, evaluate(modules)) == {"nat": True}


def test_every_module_of_the_table_is_looked_for():
    """A capability can only be judged by modules that are read."""
    for sets in CAPABILITIES.values():
        assert {name for names in sets for name in names} <= set(ROWS)


def page(modules: Modules) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the collector's samples by metric and label values."""
    snapshot = snapshot_of({kernel_modules: modules})
    return {m.name: dict(m.samples(snapshot)) for m in collector.COLLECTOR.metrics}


def test_the_page():
    """Each module has its state; what cannot be told has no usable sample, and no capability."""
    samples = page(
        make(nf_nat="loaded", nf_nat_ipv4="merged:nf_nat", nft_ct="unknown", nft_masq="available")
    )
    assert samples["kernel_info"] == {("6.1", "enabled"): 1}
    assert samples["kernel_modules_directory_present"] == {(): 1}
    assert samples["kernel_modules_locked"] == {(): 0}
    assert samples["module_info"][("nf_nat_ipv4", "merged", "nf_nat")] == 1
    assert samples["module_info"][("nft_ct", "unknown", "")] == 1
    assert samples["module_usable"] == {("nf_nat",): 1, ("nf_nat_ipv4",): 1, ("nft_masq",): 0}
    assert samples["module_references"] == {("nf_nat",): 3}
    assert samples["capability"][("nat",)] == 1
    assert samples["capability"][("conntrack",)] == 0
    assert samples["capability_blocked"][("nat",)] == 0


def test_what_cannot_be_told_is_not_on_the_page():
    """An unknown module leaves its capability out."""
    assert ("nat",) not in page(make(nf_nat="unknown"))["capability"]


def test_each_label_has_a_value():
    """Samples have as many label values as their metric has labels."""
    snapshot = snapshot_of({kernel_modules: make(nf_nat="loaded")})
    for metric in collector.COLLECTOR.metrics:
        assert all(len(values) == len(metric.labels) for values, _ in metric.samples(snapshot))
