"""rules/reachability.py: interfaces that rules need, and rules that keep packets untracked."""

import pytest

from netfilter_exporter.rules.families import BOTH, IPV4, IPV6, Family, Hook
from netfilter_exporter.rules.model import Rule
from netfilter_exporter.rules.reachability import analyze
from support.rules import MASQUERADE, filter_table, goto, jump, nat_table, verdict

WAN = MASQUERADE._replace(interfaces=("wan0",))
NOTRACK = Rule(notrack=True, conditional=True)
NOTRACK_ALL = Rule(notrack=True)
ZONE = Rule(zone=True, conditional=True)
RAW = -300


def interfaces(*tables):
    """Return (chain, interface) of what is needed in IPv4."""
    found = analyze(tables).interfaces
    return {(chain, name) for family, chain, name in found if family is Family.IPV4}


# -- interfaces ----------------------------------------------------------------------------------


def test_the_interface_of_a_translating_rule_is_needed():
    """It is named with the chain that the rule is in."""
    assert interfaces(nat_table(post=[WAN])) == {("post", "wan0")}


def test_the_interface_of_a_jump_towards_a_translating_rule_is_needed():
    """However many chains there are in between."""
    chains = {"a": [jump("b")._replace(conditional=True)], "b": [MASQUERADE], "c": [Rule()]}
    post = [jump("a")._replace(conditional=True, interfaces=("wan0",))]
    aside = [jump("c")._replace(conditional=True, interfaces=("lan0",))]
    assert interfaces(nat_table(post=post + aside, **chains)) == {("post", "wan0")}


def test_the_interface_of_a_rule_that_does_not_translate_is_not_needed():
    """A rule that accepts what comes from somewhere may wait for it."""
    assert (
        interfaces(
            nat_table(post=[verdict("accept")._replace(conditional=True, interfaces=("x",))])
        )
        == set()
    )


def test_the_interface_of_an_unreachable_rule_is_not_needed():
    """One reason why a rule is in vain is enough."""
    hidden_jump = [verdict("accept"), jump("user")]
    assert interfaces(nat_table(post=[verdict("accept"), WAN])) == set()
    assert interfaces(nat_table(post=hidden_jump, user=[WAN])) == set()
    assert interfaces(nat_table(post=hidden_jump, out=[jump("user")], user=[WAN])) == {
        ("user", "wan0")
    }


def test_an_interface_is_needed_by_the_families_that_meet_the_rule():
    """A rule for IPv4 in an inet table says nothing about IPv6."""
    facts = analyze([nat_table(BOTH, post=[WAN._replace(families=IPV4)])])
    assert facts.interfaces == {(Family.IPV4, "post", "wan0")}


# -- what is not tracked -------------------------------------------------------------------------


@pytest.mark.parametrize("hook", list(Hook))
@pytest.mark.parametrize("priority", [-400, RAW, -200, -199, -150, 0, 100])
def test_only_what_comes_before_tracking_prevents_it(hook, priority):
    """notrack works up to priority -200, at the two hooks where packets enter."""
    facts = analyze([filter_table(hook, priority, NOTRACK)])
    works = hook in {Hook.PREROUTING, Hook.OUTPUT} and priority <= -200
    assert facts.notrack[Family.IPV4] == int(works)
    assert facts.loopback_untracked == (IPV4 if works else set())


def test_a_zone_untracks_nothing_but_moves_what_is_looked_for():
    """A zone rule is no notrack rule, and yet a probe might not be found."""
    facts = analyze([filter_table(Hook.OUTPUT, RAW, ZONE)])
    assert (facts.notrack[Family.IPV4], facts.loopback_untracked) == (0, IPV4)


def test_a_rule_that_loopback_does_not_pass_says_nothing_about_it():
    """An interface match on the rule, or on the way to it, keeps loopback out."""
    elsewhere = NOTRACK._replace(loopback=False, interfaces=("wan0",))
    on_the_way = jump("user")._replace(conditional=True, loopback=False)
    for facts in (
        analyze([filter_table(Hook.OUTPUT, RAW, elsewhere)]),
        analyze([filter_table(Hook.OUTPUT, RAW, on_the_way, user=[NOTRACK])]),
    ):
        assert (facts.notrack[Family.IPV4], facts.loopback_untracked) == (1, set())


def test_loopback_passes_by_another_way():
    """One open way is enough."""
    ways = [
        jump("user")._replace(conditional=True, loopback=False),
        jump("user")._replace(conditional=True),
    ]
    facts = analyze([filter_table(Hook.OUTPUT, RAW, *ways, user=[NOTRACK])])
    assert (facts.notrack[Family.IPV4], facts.loopback_untracked) == (1, IPV4)


def test_an_unreachable_notrack_rule_untracks_nothing():
    """What no packet reaches does not count."""
    facts = analyze(
        [
            filter_table(Hook.OUTPUT, RAW, verdict("accept"), NOTRACK),
            filter_table(Hook.OUTPUT, RAW, verdict("accept"), jump("user"), user=[NOTRACK]),
        ]
    )
    assert (facts.notrack[Family.IPV4], facts.loopback_untracked) == (0, set())


def test_a_notrack_rule_counts_once_in_each_family():
    """Also where two hooks lead to it."""
    built = filter_table(
        Hook.OUTPUT, RAW, jump("user"), families=BOTH, user=[NOTRACK._replace(families=IPV4)]
    )
    built.chains["in"] = built.chains["base"]._replace(hook=Hook.PREROUTING)
    facts = analyze([built])
    assert [facts.notrack[family] for family in Family] == [1, 0]


def test_a_dormant_table_untracks_nothing():
    """Its chains are not hooked."""
    built = filter_table(Hook.FORWARD, 0, drops=True)
    raw = filter_table(Hook.OUTPUT, RAW, NOTRACK)
    facts = analyze([built._replace(dormant=True), raw._replace(dormant=True)])
    assert (facts.notrack, facts.loopback_untracked, facts.forward_drops) == ({}, set(), set())


BEFORE = {
    "nothing": ((), True),
    "a match": ((Rule(conditional=True),), True),
    "a drop for some": ((verdict("drop")._replace(conditional=True),), True),
    "an accept for some": ((verdict("accept")._replace(conditional=True),), False),
    "a jump to an empty chain": ((jump("user"),), True),
    "a jump to a return": ((jump("returns"),), True),
    "a jump to an accept": ((jump("accepts"),), False),
    "a jump to an accept for some": ((jump("accepts")._replace(conditional=True),), False),
    "a return": ((verdict("return")._replace(conditional=True),), False),
    "a goto": ((goto("user")._replace(conditional=True),), False),
    "a map": ((Rule(conditional=True, maps=("m",)),), False),
    "a zone for some": ((ZONE._replace(conditional=True),), False),
}


@pytest.mark.parametrize(("before", "all_of_it"), BEFORE.values(), ids=BEFORE)
def test_notrack_without_a_match_exempts_all_that_is_received(before, all_of_it):
    """Unless some packets may have gone another way before it."""
    users = {"user": [], "returns": [verdict("return")], "accepts": [verdict("accept")]}
    facts = analyze([filter_table(Hook.PREROUTING, RAW, *before, NOTRACK_ALL, **users)])
    assert facts.untracked == (IPV4 if all_of_it else set())


@pytest.mark.parametrize(
    ("hook", "priority", "rule"),
    [
        (Hook.OUTPUT, RAW, NOTRACK_ALL),
        (Hook.PREROUTING, -200, NOTRACK_ALL),  # which of the two was first, nobody can tell
        (Hook.PREROUTING, RAW, NOTRACK),
        (Hook.PREROUTING, RAW, NOTRACK_ALL._replace(families=IPV6)),
    ],
)
def test_what_exempts_a_part_does_not_exempt_all(hook, priority, rule):
    """It is counted, and no more is said."""
    assert analyze([filter_table(hook, priority, rule)]).untracked == set()


# -- forwarding ----------------------------------------------------------------------------------


def test_a_forward_policy_is_that_of_any_base_chain_at_the_hook():
    """Each family that meets a chain with the policy drop may lose what it forwards."""
    dropping = filter_table(Hook.FORWARD, 0, families=BOTH, drops=True)
    assert analyze([filter_table(Hook.FORWARD, 0), dropping]).forward_drops == BOTH
    assert analyze([filter_table(Hook.INPUT, 0, drops=True)]).forward_drops == set()
