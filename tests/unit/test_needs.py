"""kernel/modules/needs.py: a capability is needed when a rule, or the role, requires it."""

from netfilter_exporter.kernel.modules.capabilities import CAPABILITIES
from netfilter_exporter.kernel.modules.needs import needed
from netfilter_exporter.rules.families import BOTH, IPV4, IPV6, Backend, Family
from netfilter_exporter.rules.model import Action, Rule
from netfilter_exporter.rules.reachability import RulesetFacts, analyze
from support.rules import MASQUERADE, MATCH, nat_table


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
    assert yes((Backend.NFTABLES, dnat)) == {"conntrack", "nat", "defrag_ipv4", "nat_nftables"}
    legacy = analyze([nat_table(IPV6, pre=[Rule(action=Action.DNAT, conditional=True)])])
    assert yes((Backend.LEGACY, legacy)) == {"conntrack", "nat", "defrag_ipv6", "nat_legacy_ipv6"}


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


def test_unread_rules_may_need_anything():
    """What is not known to be needed is not known not to be."""
    facts = analyze([nat_table(IPV4, post=[MASQUERADE])])
    answers = needed([(Backend.NFTABLES, facts), (Backend.LEGACY, None)], [])
    assert answers["conntrack"] is True
    assert {answers[name] for name in answers if name not in yes((Backend.NFTABLES, facts))} == {
        None
    }
    assert set(needed([(Backend.LEGACY, RulesetFacts())], []).values()) == {False}
