"""kernel/modules/needs.py: a capability is needed when a rule, or the role, requires it."""

import pytest

from netfilter_exporter.kernel.modules.capabilities import CAPABILITIES
from netfilter_exporter.kernel.modules.needs import needed
from netfilter_exporter.rules.families import BOTH, IPV4, IPV6, Backend, Family
from netfilter_exporter.rules.model import Action, Rule
from netfilter_exporter.rules.reachability import RulesetFacts, analyze
from support.rules import MASQUERADE, MATCH, nat_table

#: What any translation of IPv4 needs.
CORE = ("conntrack", "nat", "defrag_ipv4")


def yes(*rulesets, required=()):
    """Return the capabilities that are needed."""
    return {name for name, answer in needed(rulesets, required).items() if answer}


def test_without_rules_and_role_nothing_is_needed():
    """An empty NAT chain needs nothing, and every capability is answered for."""
    facts = analyze([nat_table(post=[MATCH])])
    assert needed([(Backend.NFTABLES, facts)], []) == dict.fromkeys(CAPABILITIES, False)


def test_a_rule_needs_its_family_and_backend():
    """IPv4 NAT in nftables needs nothing of IPv6, and nothing of iptables."""
    dnat = analyze([nat_table(pre=[Rule(action=Action.DNAT, conditional=True)])])
    assert yes((Backend.NFTABLES, dnat)) == {*CORE, "nat_nftables", "dnat_nftables"}
    legacy = analyze([nat_table(IPV6, pre=[Rule(action=Action.DNAT, conditional=True)])])
    assert yes((Backend.LEGACY, legacy)) == {
        *("conntrack", "nat", "defrag_ipv6", "nat_legacy_ipv6", "dnat_legacy")
    }


@pytest.mark.parametrize("action", Action)
def test_each_action_needs_what_does_it(action):
    """A target of iptables that nftables carries needs nft_compat too."""
    native = analyze([nat_table(post=[Rule(action=action, conditional=True)])])
    assert yes((Backend.NFTABLES, native)) == {*CORE, "nat_nftables", f"{action.value}_nftables"}
    target = analyze([nat_table(post=[Rule(action=action, extension=True)])])
    of_target = {*CORE, f"{action.value}_legacy"}
    assert yes((Backend.NFTABLES, target)) == of_target | {"nat_nftables", "targets_nftables"}
    assert yes((Backend.LEGACY, target)) == of_target | {"nat_legacy_ipv4"}


def test_masquerade_needs_what_it_is_made_of():
    """iptables-nft's MASQUERADE is the target of iptables, not the expression of nftables."""
    native = analyze([nat_table(BOTH, post=[MASQUERADE])])
    assert "masquerade_nftables" in yes((Backend.NFTABLES, native))
    target = analyze([nat_table(post=[MASQUERADE._replace(extension=True)])])
    assert yes((Backend.NFTABLES, target)) >= {"masquerade_legacy", "nat_nftables"}
    assert "masquerade_nftables" not in yes((Backend.NFTABLES, target))


def test_both_kinds_of_masquerade_in_one_family_are_needed():
    """One does not stand for the other."""
    rules = [MASQUERADE, MASQUERADE._replace(extension=True)]
    facts = analyze([nat_table(post=rules)])
    assert yes((Backend.NFTABLES, facts)) >= {"masquerade_legacy", "masquerade_nftables"}


def test_dormant_rules_need_nothing():
    """They translate nothing."""
    facts = analyze([nat_table(dormant=True, post=[MASQUERADE])])
    assert yes((Backend.NFTABLES, facts)) == set()


def test_a_role_needs_nat_whatever_the_rules():
    """A host that must NAT needs it when its rules are gone."""
    assert yes(required=[Family.IPV4]) == {"conntrack", "nat", "defrag_ipv4"}


def possible(**capabilities):
    """Return what is possible: everything but what is given."""
    return {**dict.fromkeys(CAPABILITIES, True), **capabilities}


NFTABLES_OFF = {"nat_nftables": False}
NO_SOURCE = {"masquerade_legacy": False, "snat_legacy": False}


@pytest.mark.parametrize(
    ("impossible", "more"),
    [
        ({}, set()),
        (NFTABLES_OFF, set()),
        (NO_SOURCE, set()),
        ({"masquerade_nftables": False}, set()),
        ({**NFTABLES_OFF, "masquerade_legacy": False}, set()),
        ({**NFTABLES_OFF, "nat_legacy_ipv4": None}, set()),
        (
            {**NFTABLES_OFF, **NO_SOURCE},
            {
                *("nat_nftables", "targets_nftables", "nat_legacy_ipv4"),
                *("masquerade_nftables", "snat_nftables", "masquerade_legacy", "snat_legacy"),
            },
        ),
    ],
)
def test_a_role_needs_one_way_to_translate(impossible, more):
    """What could be done another way is not needed; where nothing can be done, all of it is."""
    found = needed([], [Family.IPV4], (), possible(**impossible))
    assert {name for name, answer in found.items() if answer} == {*CORE, *more}


@pytest.mark.parametrize(
    ("backend", "impossible", "more"),
    [
        (None, {"dnat_nftables": False}, set()),
        (Backend.NFTABLES, {"dnat_nftables": False}, set()),
        (
            Backend.NFTABLES,
            {"dnat_nftables": False, "targets_nftables": False},
            {"nat_nftables", "dnat_nftables", "targets_nftables", "dnat_legacy"},
        ),
        (Backend.LEGACY, {"dnat_legacy": False}, {"nat_legacy_ipv4", "dnat_legacy"}),
    ],
)
def test_an_expected_rule_needs_what_it_does(backend, impossible, more):
    """expect.rules names an action, and perhaps the backend that must have it."""
    rule = (Family.IPV4, Action.DNAT, backend)
    found = needed([], [], [rule], possible(**impossible))
    assert {name for name, answer in found.items() if answer} == {*CORE, *more}


def test_unread_rules_may_need_anything():
    """What is not known to be needed is not known not to be."""
    facts = analyze([nat_table(IPV4, post=[MASQUERADE])])
    answers = needed([(Backend.NFTABLES, facts), (Backend.LEGACY, None)], [])
    assert answers["conntrack"] is True
    assert {answers[name] for name in answers if name not in yes((Backend.NFTABLES, facts))} == {
        None
    }
    assert set(needed([(Backend.LEGACY, RulesetFacts())], []).values()) == {False}
