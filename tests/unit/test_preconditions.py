"""rules/preconditions.py and rules/matchability.py: what rules require, and what fails."""

import pytest

from netfilter_exporter.rules import matchability, preconditions
from netfilter_exporter.rules.families import BOTH, Family, Hook
from netfilter_exporter.rules.graph import Graph
from netfilter_exporter.rules.matchability import Cause, Reason
from netfilter_exporter.rules.model import Action, Rule, Verdict
from support.rules import HOOKS, MASQUERADE, goto, jump, nat_table

GONE = Cause(Reason.MISSING_INTERFACE, "gone0", missing=("gone0",))


class World:
    """A host that lacks gone0."""

    def interface(self, name):
        return GONE if name == "gone0" else None

    def arriving(self, _):
        return None


def through(name, target):
    """Return a jump that requires an interface."""
    return jump(target)._replace(conditional=True, interfaces=(name,))


def found(**chains):
    """Return chain, position, cause and the jump's chain of each rule that fails."""
    graph = Graph(nat_table(**chains))
    nat = {name: hook for name, hook in HOOKS.items() if name in chains}
    classes = graph.classes(graph.walk(nat))
    conditions = preconditions.collect(graph, nat, classes)
    return [
        (each.rule.chain, each.rule.position, each.cause, each.jump)
        for each in matchability.judge(conditions, World())
    ]


def test_a_rule_fails_by_itself():
    """Its position counts from 1, also behind rules of no interest."""
    gone = MASQUERADE._replace(interfaces=("gone0",))
    present = MASQUERADE._replace(interfaces=("wan0",))
    rules = [Rule(conditional=True), present, gone]
    assert found(post=rules) == [("post", 3, GONE, None)]


@pytest.mark.parametrize(
    ("chains", "failing"),
    [
        ({"post": [through("gone0", "zone")], "zone": [MASQUERADE]}, {"zone": "post"}),
        (
            {"post": [through("gone0", "a")], "a": [goto("b")], "b": [MASQUERADE]},
            {"b": "post"},
        ),
        (
            {"post": [through("gone0", "a"), through("wan0", "a")], "a": [MASQUERADE]},
            {},
        ),
        (
            {
                "post": [through("gone0", "a"), jump("b")._replace(conditional=True)],
                "a": [jump("b")],
                "b": [MASQUERADE],
            },
            {},
        ),
    ],
    ids=["jump", "behind", "another-jump", "another-way"],
)
def test_a_chain_fails_with_every_jump_to_it(chains, failing):
    """One jump that can match is enough; chains behind a failing one fail too."""
    assert {chain: origin for chain, _, _, origin in found(**chains)} == failing


def test_maps_lead_on():
    """A map has an element for each chain that it leads to: whatever is looked up may be in it."""
    by_map = Rule(conditional=True, maps=("m",))
    table = nat_table(post=[through("gone0", "x"), by_map], a=[MASQUERADE], x=[])
    graph = Graph(table._replace(maps={"m": ("a",)}))
    nat = {"post": Hook.POSTROUTING}
    conditions = preconditions.collect(graph, nat, graph.classes(graph.walk(nat)))
    assert not list(matchability.judge(conditions, World()))


def test_sources_are_counted_by_family():
    """What leaves this host is counted: not what comes in, and not what is hidden."""
    dnat = Rule(conditional=True, action=Action.DNAT)
    netmap = Rule(conditional=True, action=Action.NETMAP)
    hidden = [Rule(verdict=Verdict.ACCEPT), MASQUERADE]
    table = nat_table(BOTH, post=[MASQUERADE, netmap, *hidden], pre=[dnat, netmap])
    graph = Graph(table)
    nat = {"post": Hook.POSTROUTING, "pre": Hook.PREROUTING}
    conditions = preconditions.collect(graph, nat, graph.classes(graph.walk(nat)))
    assert conditions.sources == {Family.IPV4: 2, Family.IPV6: 2}


def test_of_many_rules_the_first_are_read():
    """More rules than the limit may match anything; more chains are all reached."""
    gone = MASQUERADE._replace(interfaces=("gone0",))
    limit = preconditions.MOST_READ
    assert len(found(post=[gone] * limit)) == limit
    users = {f"user{n}": [gone] for n in range(limit + 44)}
    assert len(found(post=[jump(name) for name in users], **users)) == limit
    chains = {f"user{n}": [MASQUERADE] for n in range(600)}
    assert not found(post=[through("gone0", name) for name in chains], **chains)
