"""kernel/modules/capabilities.py: 0 only when proven impossible, nothing where it is unknown."""

from __future__ import annotations

import dataclasses

import pytest

from netfilter_exporter.collectors import modules as collector
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.kernel.modules.capabilities import (
    CAPABILITIES,
    blocked,
    evaluate,
    obstacles,
)
from netfilter_exporter.kernel.modules.history import ROWS
from netfilter_exporter.kernel.modules.model import Module, Modules, ModuleState
from support.facts import snapshot_of
from support.modules import make


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
        ("redirect_nftables", {"nft_redir": "loaded", "nft_redir_ipv4": "merged:nft_redir"}),
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


@pytest.mark.parametrize(
    ("states", "where", "found"),
    [
        ({"nft_nat": "loaded"}, {}, []),
        ({"nft_nat": "available"}, {}, []),
        ({"nft_nat": "unknown"}, {}, []),
        ({"nft_nat": "available"}, {"locked": True}, [("nft_nat", "locked")]),
        ({"nft_nat": "blocked"}, {}, [("nft_nat", "blocked")]),
        ({"nft_nat": "unsigned"}, {}, [("nft_nat", "unsigned")]),
        ({"nft_nat": "absent"}, {}, [("nft_nat", "absent")]),
    ],
)
def test_what_stands_in_the_way_is_named(states, where, found):
    """An impossible capability names the module that it lacks, and why it cannot be loaded."""
    assert list(obstacles(make(**where, **states), "snat_nftables")) == found


def test_a_module_that_is_needed_by_another_is_the_one_that_is_named():
    """nft_nat is not to blame where what it needs is blocked."""
    modules = make(nft_nat="blocked")
    blamed = Module("nft_nat", ModuleState.BLOCKED, causes=("nf_conntrack", "nf_nat"))
    modules = dataclasses.replace(modules, known={**modules.known, "nft_nat": blamed})
    assert [each.module for each in obstacles(modules, "dnat_nftables")] == [
        "nf_conntrack",
        "nf_nat",
    ]


def test_a_retired_name_is_not_blamed():
    """What is lacking is the module that the code went into."""
    modules = make(nft_redir="blocked", nft_redir_ipv4="merged:nft_redir")
    assert list(obstacles(modules, "redirect_nftables")) == [("nft_redir", "blocked")]


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
