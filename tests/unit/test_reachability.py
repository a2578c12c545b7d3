"""rules/reachability.py: what a packet can reach, and no more claimed than is certain."""

import pytest

from netfilter_exporter.rules.families import BOTH, IPV4, IPV6, Family, Hook
from netfilter_exporter.rules.model import Action, Chain, Rule
from netfilter_exporter.rules.reachability import SHADOW_LIMIT, BaseChain, analyze
from support.rules import HOOKS, MASQUERADE, MATCH, filter_table, goto, jump, nat_table, verdict


def unreachable(facts, family=Family.IPV4):
    """Return the unreachable rules of a family by base chain, without the zeros."""
    return {
        label.chain: count
        for label, count in facts.unreachable.items()
        if count and label.family is family
    }


# -- hiding --------------------------------------------------------------------------------------

SNAT = Rule(action=Action.SNAT, conditional=True)
FINAL = {
    "accept": verdict("accept"),
    "drop": verdict("drop"),
    "return": verdict("return"),
    "queue": verdict("queue"),
    "goto": goto("elsewhere"),
    "masquerade": Rule(action=Action.MASQUERADE),
    "dnat": Rule(action=Action.DNAT),
}


@pytest.mark.parametrize("rule", FINAL.values(), ids=FINAL)
def test_what_every_packet_ends_at_hides_the_rest(rule):
    """Behind an unconditional verdict, or another translation, nothing is reached."""
    other = SNAT if rule.action is Action.MASQUERADE else MASQUERADE
    facts = analyze([nat_table(post=[other, rule, other, MATCH, other])])
    assert unreachable(facts) == {"post": 2}
    assert [(s.chain, s.position, s.hidden_by) for s in facts.shadows] == [
        ("post", 3, 2),
        ("post", 5, 2),
    ]


def test_the_same_translation_hides_nothing_that_matters():
    """What follows it in its chain would have done the same: no finding, and it counts."""
    post = [Rule(action=Action.MASQUERADE), MASQUERADE, Rule(action=Action.MASQUERADE), SNAT]
    facts = analyze([nat_table(post=post)])
    assert unreachable(facts) == {"post": 1}
    assert [(s.position, s.hidden_by) for s in facts.shadows] == [(4, 1)]
    assert facts.rules[Family.IPV4, Action.MASQUERADE] == 3


@pytest.mark.parametrize("rule", FINAL.values(), ids=FINAL)
def test_a_match_hides_nothing(rule):
    """A rule that some packet may pass by hides nothing, whatever it does to the others."""
    facts = analyze([nat_table(post=[rule._replace(conditional=True), MASQUERADE])])
    assert unreachable(facts) == {}


@pytest.mark.parametrize("rule", [jump("elsewhere"), Rule(), Rule(notrack=True), Rule(zone=True)])
def test_what_comes_back_hides_nothing(rule):
    """A jump returns, and a rule without a verdict goes on."""
    assert unreachable(analyze([nat_table(post=[rule, MASQUERADE], elsewhere=[])])) == {}


def test_a_hidden_rule_still_counts():
    """nat_rules says what is listed; nat_unreachable_rules which part of it is in vain."""
    facts = analyze([nat_table(post=[verdict("accept"), MASQUERADE])])
    assert facts.rules[Family.IPV4, Action.MASQUERADE] == 1
    assert facts.in_full.forwarded[Family.IPV4] == 1


def matching(rule):
    """Return a rule that some packets pass by."""
    return rule._replace(conditional=True)


ACCEPT, BACK = verdict("accept"), verdict("return")
COMES_BACK, ENDS = [MATCH], [ACCEPT]
#: What is in a chain that is jumped to, and in a chain "other"; whether no packet comes back.
CHAINS = {
    "accept": ([ACCEPT], (), True),
    "drop behind a match": ([MATCH, verdict("drop")], (), True),
    "a translation": ([Rule(action=Action.MASQUERADE)], (), True),
    "of one family": ([Rule(action=Action.SNAT, families=IPV6)], (), False),
    "nothing": ([], (), False),
    "only matches": ([matching(ACCEPT), matching(verdict("drop"))], (), False),
    "return": ([BACK, ACCEPT], (), False),
    "return for some": ([matching(BACK), ACCEPT], (), False),
    "a map, which may return": ([Rule(conditional=True, maps=("m",)), ACCEPT], (), False),
    "a jump to an end": ([jump("other")], ENDS, True),
    "a jump that comes back": ([jump("other")], COMES_BACK, False),
    "a jump for some": ([matching(jump("other")), ACCEPT], COMES_BACK, True),
    "a goto to an end": ([goto("other")], ENDS, True),
    "a goto that comes back": ([goto("other"), ACCEPT], COMES_BACK, False),
    "a goto for some, to an end": ([matching(goto("other")), ACCEPT], ENDS, True),
    "a goto for some, that comes back": ([matching(goto("other")), ACCEPT], COMES_BACK, False),
    "a circle": ([jump("user"), MATCH], (), False),
}


@pytest.mark.parametrize(("user", "other", "hides"), CHAINS.values(), ids=CHAINS)
def test_a_jump_hides_the_rest_where_no_packet_comes_back(user, other, hides):
    """Whether packets come back from a chain is followed through it, and never guessed."""
    families = BOTH if any(rule.families != BOTH for rule in user) else IPV4
    facts = analyze([nat_table(families, post=[jump("user"), MASQUERADE], user=user, other=other)])
    assert unreachable(facts).get("post", 0) == hides
    assert [(s.position, s.hidden_by) for s in facts.shadows if s.chain == "post"] == [
        (2, 1)
    ] * hides


def test_rules_that_are_reached_are_counted_apart():
    """A rule that one of two jumps reaches is reached."""
    post = [matching(jump("user")), ACCEPT, MASQUERADE, jump("user")]
    facts = analyze([nat_table(post=post, user=[MASQUERADE])])
    assert facts.rules[Family.IPV4, Action.MASQUERADE] == 2
    assert facts.reached[Family.IPV4, Action.MASQUERADE] == 1


def test_a_hidden_jump_hides_the_chain_behind_it():
    """Rules that only a hidden jump leads to are unreachable; nothing in their chain hides them."""
    facts = analyze([nat_table(post=[verdict("accept"), jump("user")], user=[MASQUERADE])])
    assert unreachable(facts) == {"post": 1}
    assert [(s.chain, s.position, s.hidden_by) for s in facts.shadows] == [("user", 1, None)]


def test_a_chain_is_reached_by_any_way_that_is_open():
    """Another jump, or another hook, may lead to a chain that one jump no longer reaches."""
    user = [MASQUERADE]
    two_jumps = nat_table(
        post=[jump("user")._replace(conditional=True), verdict("accept"), jump("user")]
    )
    two_jumps.chains["user"] = Chain(user)
    assert unreachable(analyze([two_jumps])) == {}
    two_hooks = nat_table(post=[verdict("accept"), jump("user")], out=[jump("user")], user=user)
    facts = analyze([two_hooks])
    assert unreachable(facts) == {"post": 1}
    assert facts.unreachable[BaseChain(Family.IPV4, "t", "out", Hook.OUTPUT)] == 0


def test_a_goto_is_followed():
    """A goto hides the rest of its own chain, and leads to another."""
    facts = analyze([nat_table(post=[goto("user"), MASQUERADE], user=[MASQUERADE])])
    assert [(s.chain, s.position) for s in facts.shadows] == [("post", 2)]


def test_cycles_end():
    """Chains that lead to each other, or to themselves, are looked at once."""
    chains = {"a": [jump("b"), MASQUERADE], "b": [jump("a"), jump("b")]}
    facts = analyze([nat_table(post=[jump("a")], **chains)])
    assert facts.rules[Family.IPV4, Action.MASQUERADE] == 1
    assert facts.table_rules[Family.IPV4, "t"] == 5


def test_a_chain_that_is_not_there_is_empty():
    """A user chain without rules may not be listed at all."""
    assert unreachable(analyze([nat_table(post=[jump("gone"), MASQUERADE])])) == {}


def test_only_so_many_shadows_are_kept():
    """All are counted; a person reads the first."""
    facts = analyze([nat_table(post=[verdict("accept"), *[MASQUERADE] * 100])])
    assert (unreachable(facts), len(facts.shadows)) == ({"post": 100}, SHADOW_LIMIT)


# -- counting ------------------------------------------------------------------------------------


def test_verdict_maps_are_followed():
    """The chains that a map leads to are reached, and a map hides nothing."""
    rules = [Rule(conditional=True, maps=("m",)), MASQUERADE]
    facts = analyze([nat_table(maps={"m": ("a", "b")}, post=rules, a=[MASQUERADE], b=[MASQUERADE])])
    assert facts.rules[Family.IPV4, Action.MASQUERADE] == 3
    assert unreachable(facts) == {}


def test_a_chain_that_two_hooks_lead_to_counts_once():
    """A user chain that PREROUTING and OUTPUT share has its rules once."""
    dnat = Rule(action=Action.DNAT, conditional=True)
    facts = analyze([nat_table(pre=[jump("user")], out=[jump("user")], user=[dnat, dnat])])
    assert facts.rules[Family.IPV4, Action.DNAT] == 2
    assert facts.in_full.forwarded[Family.IPV4] == 2
    assert facts.table_rules[Family.IPV4, "t"] == 4


def test_chains_that_no_nat_hook_leads_to_do_not_count():
    """A chain without a jump to it, or with one from a filter chain, translates nothing."""
    tables = [
        nat_table(post=[MATCH], orphan=[MASQUERADE]),
        filter_table(Hook.FORWARD, 0, jump("user"), user=[MASQUERADE]),
    ]
    facts = analyze(tables)
    assert (facts.rules, facts.table_rules) == ({}, {(Family.IPV4, "t"): 1})


def test_base_chains_are_counted_as_listed():
    """Rules of any kind count, and a chain without a rule is 0, in each family of the table."""
    facts = analyze([nat_table(BOTH, post=[MATCH, MASQUERADE], pre=[])])
    assert facts.chain_rules == {
        BaseChain(family, "t", name, HOOKS[name]): count
        for family in Family
        for name, count in (("post", 2), ("pre", 0))
    }


@pytest.mark.parametrize(
    ("hook", "actions"),
    {
        "post": {Action.SNAT, Action.MASQUERADE, Action.NETMAP},
        "pre": {Action.DNAT, Action.NETMAP},
        "in": set(),
        "out": set(),
    }.items(),
)
def test_what_translates_forwarded_traffic(hook, actions):
    """What the input or output hook does, and a redirect anywhere, is for this host's own."""
    for action in Action:
        facts = analyze([nat_table(**{hook: [Rule(action=action, conditional=True)]})])
        assert facts.in_full.forwarded[Family.IPV4] == int(action in actions), action
        assert facts.rules[Family.IPV4, action] == 1


def test_a_dormant_table_translates_nothing():
    """Its rules are told apart from those in effect, and hide and need nothing."""
    rules = [verdict("accept"), MASQUERADE._replace(interfaces=("wan0",))]
    facts = analyze([nat_table(BOTH, dormant=True, post=rules)])
    assert facts.dormant == dict.fromkeys(((family, "t") for family in Family), 1)
    assert (facts.rules, facts.in_full.forwarded, facts.interfaces) == ({}, {}, set())
    assert not any(facts.unreachable.values())


def test_translations_are_told_one_by_one():
    """With the families that meet them, and whether their action is an xt target."""
    rules = [MASQUERADE._replace(extension=True, families=IPV4), MASQUERADE]
    facts = analyze([nat_table(BOTH, post=rules)])
    assert {(f.families, f.extension): chains for f, chains in facts.translations.items()} == {
        (IPV4, True): {"post"},
        (BOTH, False): {"post"},
    }


# -- families ------------------------------------------------------------------------------------


def test_an_inet_table_counts_in_both_families():
    """A rule that says nothing of families is met by both."""
    facts = analyze([nat_table(BOTH, post=[MASQUERADE])])
    assert [facts.rules[family, Action.MASQUERADE] for family in Family] == [1, 1]
    assert [facts.in_full.forwarded[family] for family in Family] == [1, 1]


def test_a_family_match_on_the_way_limits_what_is_behind_it():
    """A jump that only IPv4 passes leads IPv6 to nothing."""
    tables = [
        nat_table(
            BOTH, post=[jump("user")._replace(conditional=True, families=IPV4)], user=[MASQUERADE]
        )
    ]
    facts = analyze(tables)
    assert [facts.rules[family, Action.MASQUERADE] for family in Family] == [1, 0]
    assert facts.table_rules == {(Family.IPV4, "t"): 2, (Family.IPV6, "t"): 1}


def test_a_rule_that_no_family_passes_is_met_by_none():
    """A chain for IPv4 that asks for IPv6 translates nothing."""
    tables = [nat_table(IPV4, post=[jump("user")._replace(families=IPV6)], user=[MASQUERADE])]
    assert analyze(tables).rules == {}


def test_families_are_hidden_apart():
    """What IPv6 only reaches by a hidden jump is unreachable for IPv6 alone."""
    post = [
        jump("user")._replace(conditional=True, families=IPV4),
        verdict("accept"),
        jump("user")._replace(conditional=True, families=IPV6),
    ]
    facts = analyze([nat_table(BOTH, post=post, user=[MASQUERADE])])
    assert (unreachable(facts), unreachable(facts, Family.IPV6)) == ({}, {"post": 1})


def test_a_translation_of_one_family_hides_nothing_of_the_other():
    """In an inet table "dnat ip to" has no match, and yet IPv6 passes it by."""
    rules = [Rule(action=Action.DNAT, families=IPV4), Rule(action=Action.DNAT, families=IPV6)]
    facts = analyze([nat_table(BOTH, pre=rules)])
    assert (unreachable(facts), unreachable(facts, Family.IPV6)) == ({}, {})
    assert unreachable(analyze([nat_table(IPV4, pre=[rules[0], MASQUERADE])])) == {"pre": 1}
