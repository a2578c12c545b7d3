"""rules/covers.py: what is said to be hidden is met by no packet, and what is hidden is found."""

import random
import tracemalloc

import pytest

from netfilter_exporter.rules import chain_ends, covers
from netfilter_exporter.rules.detail import Form, MatchReader, NatReader, NatTarget
from netfilter_exporter.rules.families import BOTH, IPV4, IPV6, Backend, Family, Hook
from netfilter_exporter.rules.graph import Graph
from netfilter_exporter.rules.match import (
    Bits,
    Field,
    InSet,
    Opaque,
    intervals_of,
    masked,
    named,
    ranged,
)
from netfilter_exporter.rules.model import Action, Chain, Rule, Table, Verdict
from netfilter_exporter.rules.reachability import analyze
from support import packets
from support.rules import goto, jump, matching, nat_table, verdict

# -- brute force ---------------------------------------------------------------------------------

MARK = frozenset({Field.MARK})
CHAINS = ("post", "a", "b", "c")
SETS = ("s", "t")


def some_match(dice):
    """Return a random match of the small world."""
    field = dice.choice([*packets.WORLD, Field.MARK])
    numbers = packets.WORLD[field]
    kind = dice.randrange(10)
    if kind == 0:
        return InSet((Field.SOURCE_IPV4,), dice.choice(SETS), dice.random() < 0.3)
    if kind == 1:
        return Opaque("xt", dice.choice(SETS).encode(), stable=True)
    if kind == 2:
        return Opaque(dice.choice(["limit", "xt future"]))
    if kind == 3:
        return Bits(field, dice.choice([1, 5, 2]), dice.choice([0, 1]), dice.random() < 0.5)
    if kind < 7:  # a prefix
        size = dice.choice([1, 2, 4, 8])
        first = dice.choice(numbers) // size * size
        return ranged(field, [(first, first + size - 1)], negated=dice.random() < 0.2)
    pairs = [sorted(dice.choices(numbers, k=2)) for _ in range(dice.choice([1, 1, 2]))]
    return ranged(field, [tuple(pair) for pair in pairs], negated=dice.random() < 0.2)


def some_rule(dice, chains, writes, before):
    """Return a random rule; jumps lead to `chains`, and marks that it sets go into `writes`.

    Some match what one of the rules `before` matches.
    """
    matches = [some_match(dice) for _ in range(dice.choice([0, 1, 1, 1, 2, 2]))]
    kinds = ["accept", "return", "drop", "mark", "mark", "nothing", *["nat"] * 4]
    kind = dice.choice(kinds + ["jump", "jump", "jump", "goto"] * bool(chains))
    made = Rule() if kind in {"mark", "nothing"} else None
    if kind == "nat":
        made = Rule(action=Action.SNAT)
    elif kind in {"jump", "goto"}:
        made = {"jump": jump, "goto": goto}[kind](dice.choice(chains))
    made = made or verdict(kind)
    alike = [rule for rule in before if not rule.form.writes and not rule.form.nat]
    if kind != "mark" and alike and dice.random() < 0.3:
        same = dice.choice(alike)
        return made._replace(conditional=same.conditional, form=same.form)
    to = NatTarget(Family.IPV4, (dice.randrange(2),) * 2) if kind == "nat" else None
    mark = kind == "mark" or (kind in {"jump", "accept"} and dice.random() < 0.3)
    rule = matching(made, *matches, to=to, writes=MARK if mark else frozenset())
    if mark:
        writes[id(rule)] = dice.choice(packets.WORLD[Field.MARK])
    return rule


def some_table(seed):
    """Return a random table, what its sets hold, and the marks that its rules set."""
    dice = random.Random(seed)
    writes = {}
    chains = {}
    every = []
    for at, name in enumerate(CHAINS):
        rules = chains[name] = []
        for _ in range(dice.choice([2, 3, 5])):
            rules.append(some_rule(dice, CHAINS[at + 1 :], writes, every))
            every.append(rules[-1])
    if dice.random() < 0.3:  # the same rule again
        chains["post"] += chains["post"][:1]
    numbers = list(packets.WORLD[Field.SOURCE_IPV4])
    contents = {name: frozenset(dice.sample(numbers, 5)) for name in SETS}
    return nat_table(**chains), contents, writes


def said(table):
    """Return the rules that are said to be hidden from every packet."""
    facts = analyze([table])
    return {(s.chain, s.position) for s in (*facts.shadows, *facts.exemptions)}


def test_nothing_hidden_is_met():
    """Of two thousand random rulesets, every packet by brute force: none meets what is hidden."""
    found = 0
    for seed in range(2000):
        table, contents, writes = some_table(seed)
        hidden = said(table)
        if hidden:
            found += len(hidden)
            wrong = hidden & packets.met(table, "post", contents, writes)
            assert not wrong, (seed, wrong, [table.rules(name) for name in CHAINS])
    assert found > 1000


def test_nothing_hidden_is_met_where_few_rules_are_read(monkeypatch):
    """Beyond the rules that are read in full, only what compares the very same is concluded."""
    monkeypatch.setattr(covers, "MOST_READ", 0)
    for seed in range(500):
        table, contents, writes = some_table(seed)
        assert not said(table) & packets.met(table, "post", contents, writes), seed


# -- the hidden rules of real programs -----------------------------------------------------------

WAN = named(Field.OUTPUT_INTERFACE, b"wan\0")
TCP = ranged(Field.PROTOCOL, [(6, 6)])
TO_8080 = ranged(Field.DESTINATION_PORT, [(8080, 8080)])
MASQUERADE = Rule(action=Action.MASQUERADE)
SEVEN = ranged(Field.MARK, [(7, 7)])


def network(text, field=Field.SOURCE_IPV4):
    """Return the match on an IPv4 prefix."""
    address, _, length = text.partition("/")
    value = int.from_bytes(bytes(map(int, address.split("."))), "big")
    return masked(field, (1 << 32) - (1 << 32 - int(length)), value)


def dnat(host, *matches):
    target = NatTarget(Family.IPV4, (host, host), (8080, 8080))
    return matching(Rule(action=Action.DNAT), *matches, to=target)


TEN, PART, OTHER = network("10.0.0.0/8"), network("10.1.0.0/16"), network("192.168.0.0/16")
ACCEPT, BACK = verdict("accept"), verdict("return")
LIVE, DEAD = dnat(2, TCP, TO_8080), dnat(9, TCP, TO_8080)
LATE = named(Field.OUTPUT_INTERFACE, b"wan")  # wan*

#: A chain, and the position of what hides its last rule; None: nothing does.
SHAPES = {
    "accept of an uplink": ([matching(ACCEPT, WAN), matching(MASQUERADE, WAN)], 1),
    "return of an uplink": ([matching(BACK, WAN), matching(MASQUERADE, WAN, TEN)], 1),
    "a container that died": ([DEAD, LIVE], 1),
    "a subnet that is covered": ([matching(ACCEPT, TEN), matching(MASQUERADE, PART)], 1),
    "a subnet that is not": ([matching(ACCEPT, PART), matching(MASQUERADE, TEN)], None),
    "another subnet": ([matching(ACCEPT, OTHER), matching(MASQUERADE, TEN)], None),
    "a wildcard": ([matching(ACCEPT, LATE), matching(MASQUERADE, WAN)], 1),
    "the second of two": (
        [matching(ACCEPT, OTHER), matching(ACCEPT, TEN), matching(MASQUERADE, PART, WAN)],
        2,
    ),
    "the same translation of more": ([matching(MASQUERADE, TEN), matching(MASQUERADE, PART)], None),
    "another translation of more": (
        [dnat(9, TCP), matching(LIVE, *(TCP, TO_8080), to=NatTarget(Family.IPV4, (2, 2)))],
        1,
    ),
    "a chance": ([matching(ACCEPT, WAN, Opaque("xt statistic")), matching(MASQUERADE, WAN)], None),
    "for some states alone": (
        [
            matching(ACCEPT, ranged(Field.CT_STATE, [(2, 2), (4, 4)])),
            matching(MASQUERADE, WAN),
        ],
        None,
    ),
}


@pytest.mark.parametrize(("rules", "hider"), SHAPES.values(), ids=SHAPES)
def test_the_shapes_of_the_field(rules, hider):
    """What hides a rule is found, with its position, and nothing of it is undecided."""
    facts = analyze([nat_table(post=rules)])
    found = [(s.position, s.hidden_by) for s in facts.shadows]
    assert found == ([(len(rules), hider)] if hider else [])
    assert sum(facts.unreachable.values()) == bool(hider)
    assert (facts.undecided, facts.exemptions) == ({}, [])


def test_a_chain_that_is_jumped_to_before():
    """An accept in another chain hides, and is named; behind a return for some it does not."""
    post = [jump("user"), matching(MASQUERADE, WAN)]
    facts = analyze([nat_table(post=post, user=[matching(ACCEPT, WAN)])])
    (shadow,) = facts.shadows
    assert (shadow.position, shadow.hidden_by) == (2, None)
    assert shadow.shadowing_rule[:2] == ("user", 1)
    user = [matching(BACK, TCP), matching(ACCEPT, WAN)]
    assert not analyze([nat_table(post=post, user=user)]).shadows


def test_the_chains_of_dead_and_live_containers():
    """Port mappings in a chain of their own each, as CNI writes them."""
    first, second = (matching(jump(name), TCP, TO_8080) for name in ("dead", "live"))
    chains = {"dead": [matching(jump("mark"), PART), DEAD], "live": [LIVE], "mark": [SET_MARK]}
    facts = analyze([nat_table(pre=[first, second], **chains)])
    (shadow,) = facts.shadows
    assert (shadow.chain, shadow.position) == ("live", 1)
    assert shadow.shadowing_rule[:2] == ("dead", 2)


SET_MARK = matching(Rule(), writes=MARK)


@pytest.mark.parametrize("between", [SET_MARK, jump("user"), matching(Rule(), writes=None)])
def test_what_is_changed_in_between_hides_nothing(between):
    """A packet that an accept passed by may have the mark that it compares later on."""
    rules = [matching(ACCEPT, SEVEN), between, matching(MASQUERADE, SEVEN)]
    assert not analyze([nat_table(post=rules, user=[SET_MARK])]).shadows
    rules[2] = rules[0]._replace(verdict=None, action=Action.SNAT)  # the very same match
    assert not analyze([nat_table(post=rules, user=[SET_MARK])]).shadows
    rules[1] = matching(Rule(), WAN)
    assert analyze([nat_table(post=rules)]).shadows


def test_a_family_hides_nothing_of_the_other():
    """In an inet table an accept of IPv4 hides what is IPv4's."""
    accept = matching(ACCEPT, ranged(Field.FAMILY, [(2, 2)]))._replace(families=IPV4)
    both = matching(MASQUERADE, WAN)
    assert not analyze([nat_table(BOTH, post=[accept, both])]).shadows
    ipv4 = both._replace(families=IPV4)
    assert len(analyze([nat_table(BOTH, post=[accept, ipv4])]).shadows) == 1
    assert not analyze([nat_table(BOTH, post=[accept, both._replace(families=IPV6)])]).shadows


def test_an_exemption_that_comes_too_late():
    """An accept behind the translation that it was to exempt from; not behind another accept."""
    exemption = matching(ACCEPT, network("10.9.0.0/16", Field.DESTINATION_IPV4), WAN)
    facts = analyze([nat_table(post=[matching(MASQUERADE, WAN), exemption])])
    assert facts.hidden_exemptions == {(Family.IPV4, "t"): 1}
    assert [(s.position, s.hidden_by) for s in facts.exemptions] == [(2, 1)]
    assert not facts.shadows
    for before in (exemption, matching(ACCEPT, WAN)):
        rules = [before, matching(MASQUERADE, WAN), exemption]
        assert not analyze([nat_table(post=rules)]).exemptions
    facts = analyze([nat_table(post=[MASQUERADE, exemption])])
    assert [(s.position, s.hidden_by) for s in facts.exemptions] == [(2, 1)]


def test_what_ends_the_way_behind_a_jump_is_no_exemption():
    """A return of just what was sent to a chain before it, as firewalld writes; not of less."""
    leave, jumped = verdict(Verdict.RETURN), matching(jump("external"), WAN)
    for matches, number in (((WAN,), 0), ((WAN, TCP), 1)):
        post = [jumped, matching(leave, *matches)]
        facts = analyze([nat_table(post=post, external=[matching(MASQUERADE, WAN)])])
        assert len(facts.exemptions) == number


def snat(host, *matches):
    return matching(Rule(action=Action.SNAT), *matches, to=NatTarget(Family.IPV4, (host, host)))


def named_table(name, priority, *rules, families=IPV4, **chains):
    """Return a table with a postrouting chain of a priority."""
    table = nat_table(families, post=rules, **chains)
    table.chains["post"] = table.chains["post"]._replace(priority=priority)
    return table._replace(name=name)


#: What stands in a table at priority 90, and whether it hides the masquerade of another at 100.
EARLIER = {
    "a translation": ([snat(1, WAN)], True),
    "a translation of more": ([snat(1)], True),
    "a translation of less": ([snat(1, WAN, TEN)], False),
    "the same translation": ([MASQUERADE], False),
    "an accept": ([matching(ACCEPT, WAN)], False),
    "a translation behind an accept for some": ([matching(ACCEPT, TEN), snat(1, WAN)], False),
    "a translation behind an accept for others": (
        [matching(ACCEPT, named(Field.OUTPUT_INTERFACE, b"lan\0")), snat(1, WAN)],
        True,
    ),
    "a translation behind a jump": ([matching(jump("user"), WAN), ACCEPT], True),
    "a translation behind a jump that accepts some": (
        [matching(jump("exempt"), WAN), snat(1, WAN)],
        False,
    ),
    "a translation behind a mark": ([snat(1, WAN, SEVEN)], False),
}


@pytest.mark.parametrize(("rules", "hides"), EARLIER.values(), ids=EARLIER)
def test_a_table_that_comes_first(rules, hides):
    """What it translates is translated; what it accepts goes on to the next table."""
    chains = {"user": [snat(2)], "exempt": [matching(ACCEPT, TEN)]}
    earlier = named_table("first", 90, *rules, **chains)
    later = named_table("second", 100, matching(MASQUERADE, WAN, TCP))
    for tables in ([earlier, later], [later, earlier]):
        shadows = [s for s in analyze(tables).shadows if s.table == "second"]
        assert len(shadows) == hides
        assert [s.shadowing_rule.table for s in shadows] == [(IPV4, "first")] * hides
    same = named_table("first", 100, *rules, **chains)
    assert not [s for s in analyze([same, later]).shadows if s.table == "second"]
    asleep = earlier._replace(dormant=True)
    assert not analyze([asleep, later]).shadows


def test_a_table_of_both_families_comes_first():
    """What an inet table translates of a family hides that of the same family."""
    rule = matching(snat(1), WAN, ranged(Field.FAMILY, [(2, 2)]), to=NatTarget())
    first = named_table("first", 90, rule._replace(families=IPV4), families=BOTH)
    for families, hides in ((IPV4, True), (IPV6, False), (BOTH, False)):
        later = named_table("second", 100, matching(MASQUERADE, WAN), families=families)
        assert bool(analyze([first, later]).shadows) is hides


UNKNOWN = {
    "an extension that is unknown": (Opaque("xt tomorrow"), WAN),
    "another set": (InSet((Field.SOURCE_IPV4,), "s"), InSet((Field.SOURCE_IPV4,), "t")),
    "other bytes": (
        Opaque("xt", b"6:icmp 04:\x08\0\xff\0", stable=True),
        Opaque("xt", b"6:icmp 04:\0\0\xff\0", stable=True),
    ),
}


@pytest.mark.parametrize(("wide", "narrow"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_cannot_be_decided_is_counted(wide, narrow):
    """Nothing is said of a rule that may be covered, but that it is undecided."""
    facts = analyze([nat_table(post=[matching(ACCEPT, wide), matching(MASQUERADE, narrow)])])
    assert facts.undecided == {(Family.IPV4, "t"): 1}
    assert not facts.shadows
    apart = [matching(ACCEPT, wide, TCP), matching(MASQUERADE, narrow)]
    assert not analyze([nat_table(post=apart)]).undecided


def port(content):
    """Read a match on the port in two bytes."""
    number = int.from_bytes(content, "big")
    return (ranged(Field.DESTINATION_PORT, [(number, number)]),)


def target(content):
    """Read the last part of an address to translate to."""
    return NatTarget(Family.IPV4, (content[0], content[0]))


def test_many_rules_are_compared_by_their_bytes():
    """Of thousands of rules the one that demands the same is found wherever it is."""
    slots = (MatchReader(port, slots=((0, 2),)),), NatReader(target, slots=((2, 3),))
    rule = Rule(True, action=Action.DNAT, form=Form(3, *slots))
    values = [number.to_bytes(2, "big") + b"\1" for number in (*range(5000), 4000, 4001)]
    values[-1] = values[-1][:2] + b"\2"
    chain = Chain([rule] * len(values), Hook.PREROUTING, "nat", -100, values=b"".join(values))
    facts = analyze([Table(Backend.NFTABLES, IPV4, "t", {"pre": chain}, {})])
    assert [(s.position, s.hidden_by) for s in facts.shadows] == [(5002, 4002)]
    assert facts.in_full.duplicates == {(Family.IPV4, "t"): 1}


def test_many_rules_of_one_chain_take_little_memory():
    """While ten thousand rules that differ are compared, 350 bytes of each are held at most."""
    slots = (MatchReader(port, slots=((0, 2),)),), NatReader(target, slots=((2, 3),))
    rule = Rule(True, action=Action.DNAT, form=Form(3, *slots))
    count = 10_000
    values = b"".join(number.to_bytes(2, "big") + b"\1" for number in range(count))
    table = nat_table(pre=[rule] * count)
    table.chains["pre"] = table.chains["pre"]._replace(values=values)
    tracemalloc.start()
    try:
        analyze([table])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 350 * count


def test_intervals_that_touch_are_one():
    """What two rules cover together is not concluded; one that covers both halves is."""
    halves = [matching(ACCEPT, network(f"10.{n}.0.0/9")) for n in (0, 128)]
    assert not analyze([nat_table(post=[*halves, matching(MASQUERADE, TEN)])]).shadows
    whole = intervals_of([(10 << 24, (10 << 24) + 7), ((10 << 24) + 8, (11 << 24) - 1)])
    accept = matching(ACCEPT, ranged(Field.SOURCE_IPV4, whole))
    assert analyze([nat_table(post=[accept, matching(MASQUERADE, TEN)])]).shadows


def test_a_rule_that_matches_nothing_is_not_hidden():
    """It has another fault, and hides nothing itself."""
    never = matching(ACCEPT, TEN, OTHER)
    rules = [never, matching(MASQUERADE, TEN, WAN), matching(ACCEPT, TEN)]
    facts = analyze([nat_table(post=[*rules, matching(MASQUERADE, TEN, OTHER)])])
    assert not facts.shadows


def test_a_map_of_verdicts_may_be_hidden():
    """What it leads to is met no more."""
    mapped = matching(Rule(maps=("m",)), WAN, InSet((Field.PROTOCOL,), "m"))
    table = nat_table(
        maps={"m": ("user",)}, post=[matching(ACCEPT, WAN), mapped], user=[MASQUERADE]
    )
    (shadow,) = analyze([table]).shadows
    assert (shadow.chain, shadow.shadowing_rule[:2]) == ("user", ("post", 1))
    assert mapped.verdict is not Verdict.JUMP


# -- what is remembered --------------------------------------------------------------------------


def sized(chain):
    """Return a chain whose rules have a value each, so that few of them are read in full."""
    rules = [rule._replace(form=rule.form._replace(size=1)) for rule in chain.rules]
    return chain._replace(rules=rules, values=bytes(len(rules)))


def edited(dice, chain, rules):
    """Return a chain with a rule of `rules` more, or one less, or in another order."""
    made = list(chain.rules)
    kind = dice.randrange(3)
    if kind == 0:
        made.insert(dice.randrange(len(made) + 1), dice.choice(rules))
    elif kind == 1 and made:
        del made[dice.randrange(len(made))]
    else:
        dice.shuffle(made)
    return chain._replace(rules=made, values=bytes(len(made)))


@pytest.mark.parametrize(("read", "jumps"), [(512, 256), (4, 2)], ids=["all", "few are compared"])
def test_what_is_remembered_of_chains_changes_nothing(monkeypatch, read, jumps):
    """Whichever chain is edited, all is found out that is found out without a memory."""
    monkeypatch.setattr(covers, "MOST_READ", read)
    monkeypatch.setattr(chain_ends, "_MOST_JUMPS", jumps)
    for seed in range(100):
        dice = random.Random(seed)
        table = some_table(seed)[0]
        table = table._replace(chains={name: sized(c) for name, c in table.chains.items()})
        memory = {}
        for _ in range(8):
            assert vars(analyze([table], memory)) == vars(analyze([table])), seed
            at = dice.randrange(len(CHAINS))
            below = [r for name in CHAINS[at:] for r in table.chains[name].rules]
            chain = edited(dice, table.chains[CHAINS[at]], below or [verdict("accept")])
            table = table._replace(chains={**table.chains, CHAINS[at]: chain})


def test_chains_that_are_the_same_are_not_looked_at_again(monkeypatch):
    """But for those that lead to one that has changed."""
    table = nat_table(post=[jump("a"), jump("b")], a=[jump("c")], b=[verdict("accept")], c=[])
    memory = {}
    analyze([table], memory)
    looked = []
    look_at = Graph._look_at
    monkeypatch.setattr(Graph, "_look_at", lambda s, name: looked.append(name) or look_at(s, name))
    for name, again in (("post", ["post"]), ("a", ["a", "post"]), ("c", ["a", "c", "post"])):
        chain = table.chains[name]
        changed = chain._replace(rules=[*chain.rules, Rule()])
        table = table._replace(chains={**table.chains, name: changed})
        looked.clear()
        analyze([table], memory)
        assert sorted(looked) == again
