"""kernel/nft/tables.py: one consistent reading of the ruleset, out of many messages."""

import errno
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.errors import Denied, ReadError, Status
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NLM_F_DUMP_INTR, NetlinkError
from netfilter_exporter.kernel.nft import tables as nftables
from netfilter_exporter.kernel.nft.chains import parse_chain
from netfilter_exporter.kernel.nft.maps import Maps
from netfilter_exporter.kernel.nft.rules import parse_rule
from netfilter_exporter.kernel.nft.tables import parse_table
from netfilter_exporter.kernel.nft.uapi import (
    NFT_MSG_GETCHAIN,
    NFT_MSG_GETGEN,
    NFT_MSG_GETRULE,
    NFT_MSG_GETSET,
    NFT_MSG_GETSETELEM,
    NFT_MSG_GETTABLE,
)
from netfilter_exporter.kernel.parser_cache import LIMIT, parser_cache
from netfilter_exporter.rules.detail import RuleDetail
from netfilter_exporter.rules.families import BOTH, IPV4, Hook
from netfilter_exporter.rules.model import Action, Rule, Verdict
from support import corpus, nft, wire
from support.script import connect, done, dumped

RULES = corpus.payloads("nft-getrule-unspec")
CHAINS = corpus.payloads("nft-getchain-unspec")


def generation(number):
    """Return the answer to GETGEN."""
    return [dumped(nft.nfgenmsg(0) + nft.number(1, number), flags=0)]


def reading(*rules, elements=None):
    """Return the answers to one reading of a table t with a NAT chain c."""
    answers = [
        [dumped(nft.table()), done()],
        [dumped(nft.chain(Hook.POSTROUTING)), done()],
        [dumped(*rules), done()],
    ]
    return answers if elements is None else [*answers, [dumped(nft.set_()), done()], elements]


def outcome(parse, content):
    """Return what a parser makes of bytes: a value, or the text of its ReadError."""
    try:
        return parse(memoryview(content))
    except ReadError as error:
        return str(error)


def of_detail(rule, values):
    """Return all that is decoded of a rule."""
    detail = RuleDetail(rule.form, values)
    # A rule may translate to no address and no port that it names: masquerade.
    return [*detail.matches, *([] if detail.nat is None else [detail.nat])]


# -- messages ------------------------------------------------------------------------------------


@given(corpus.mutated(RULES) | st.binary(max_size=80))
def test_any_bytes_make_a_rule_or_an_error(content):
    """No bytes make anything but a rule of some chain, or a ReadError."""
    found = outcome(lambda m: parse_rule(m).make(m), content)
    if not isinstance(found, str):
        (family, table), chain, rule, values, handle = found
        assert (type(family), type(table), type(chain), type(rule)) == (int, str, bytes, Rule)
        assert len(values) == rule.form.size
        assert bool(handle) is bool(rule.maps)
        assert all(detail is not None for detail in of_detail(rule, values))


@given(corpus.mutated(CHAINS) | corpus.mutated(corpus.payloads("nft-gettable-unspec")))
def test_any_bytes_make_a_table_a_chain_or_an_error(content):
    """No bytes make anything but what is looked for, or a ReadError."""
    outcome(parse_table, content)
    found = outcome(lambda m: parse_chain(m).make(m), content)
    if not isinstance(found, str) and found[-1]:
        assert found[-1].hook is None or found[-1].hook in Hook


@given(st.lists(corpus.mutated(RULES), max_size=8), st.lists(st.sampled_from(RULES), max_size=8))
def test_recognising_a_rule_is_as_good_as_parsing_it(strange, real):
    """Whatever came before, a message has the result that it has alone."""
    recognise = parser_cache(parse_rule)
    for content in (*strange, *real, *strange):
        assert outcome(recognise, content) == outcome(lambda m: parse_rule(m).make(m), content)


@given(st.lists(corpus.mutated(CHAINS), max_size=12))
def test_recognising_a_chain_is_as_good_as_parsing_it(contents):
    """Nor are chains."""
    recognise = parser_cache(parse_chain)
    for content in (*CHAINS, *contents, *CHAINS):
        assert outcome(recognise, content) == outcome(lambda m: parse_chain(m).make(m), content)


@pytest.mark.parametrize(
    "rule",
    [
        nft.rule(
            nft.interface(nft.OIFNAME, "wan0"),
            nft.expression("counter", nft.pack(1, bytes(8))),
            nft.immediate(nft.JUMP, "other"),
            userdata=nft.comment("x"),
        ),
        nft.rule(nft.load(16), nft.cmp(b"\6"), nft.vmap("__map7")),
        nft.rule(nft.immediate(nft.GOTO, "other"), userdata=nft.comment("why")),
    ],
)
def test_rules_that_differ_in_one_bit_are_told_apart(rule):
    """Of a rule, every single changed bit gives what it gives when it is parsed alone."""
    for bit in range(8 * len(rule)):
        content = bytearray(rule)
        content[bit // 8] ^= 1 << bit % 8
        recognise = parser_cache(parse_rule)
        recognise(memoryview(rule))
        assert outcome(recognise, content) == outcome(lambda m: parse_rule(m).make(m), content), bit


def test_where_rules_lead_is_no_part_of_their_shape():
    """A thousand jumps, and as many maps, are a shape for each length of a name."""
    parse = Mock(wraps=parse_rule)
    recognise = parser_cache(parse)
    for number in range(1000, 2000):
        jump = nft.rule(nft.load(16), nft.cmp(b"\6"), nft.immediate(nft.JUMP, f"to{number}"))
        vmap = nft.rule(nft.vmap(f"__map{number}"), chain=f"chain{number}")
        assert recognise(memoryview(jump))[2].targets == (f"to{number}",)
        _, chain, rule, *_ = recognise(memoryview(vmap))
        assert (chain, rule.maps) == (f"chain{number}\0".encode(), (f"__map{number}",))
    assert parse.call_count == 2


def test_more_shapes_than_are_remembered_are_parsed():
    """Rules of many shapes and one size are all read, only slower."""
    rules = [nft.rule(nft.load(key), nft.cmp(b"\1"), nft.masquerade()) for key in range(3 * LIMIT)]
    parse = Mock(wraps=parse_rule)
    recognise = parser_cache(parse)
    for _ in range(2):
        assert {recognise(memoryview(rule))[2].action for rule in rules} == {Action.MASQUERADE}
    assert parse.call_count == len(rules) + len(rules[LIMIT:])


@pytest.mark.parametrize(
    ("message", "hook", "priority", "drops"),
    [
        (nft.chain(0, priority=-100), Hook.PREROUTING, -100, False),
        (nft.chain(4, priority=100), Hook.POSTROUTING, 100, False),
        (nft.chain(2, priority=0, policy=nft.DROP, type_="filter"), Hook.FORWARD, 0, True),
        (nft.chain(5, priority=0, family=nft.INET), None, 0, False),  # NF_INET_INGRESS
        (nft.chain(0, priority=0, family=nft.NETDEV), None, 0, False),  # NF_NETDEV_INGRESS
    ],
)
def test_a_base_chain_has_its_hook(message, hook, priority, drops):
    """A hook is one of the five of IPv4 and IPv6, or none: others are numbered differently."""
    chain = parse_chain(memoryview(message)).make(memoryview(message))[-1]
    assert (chain.hook, chain.priority, chain.drops) == (hook, priority, drops)


# -- a reading -----------------------------------------------------------------------------------


def test_a_reading_is_put_together():
    """Tables, chains, rules and maps find each other; a user chain is known by its rules."""
    rules = [
        nft.rule(nft.vmap("m")),
        nft.rule(nft.masquerade(), chain="user"),
        nft.rule(nft.masquerade(), family=nft.INET),  # of another table, from an old kernel
    ]
    elements = [dumped(nft.elements(nft.verdict(nft.GOTO, "user"))), done()]
    connection, script = connect(generation(7), *reading(*rules, elements=elements), generation(7))
    number, (table,), *_ = nftables.read_tables(lambda _: connection, Maps())
    assert (number, table.name, table.families, table.dormant) == (7, "t", IPV4, False)
    assert table.maps == {"m": ("user",)}
    assert {name: chain.hook for name, chain in table.chains.items()} == {
        "c": Hook.POSTROUTING,
        "user": None,
    }
    assert table.rules("user") == [Rule(action=Action.MASQUERADE)]
    assert [request.type for request in script.requests] == [
        NFT_MSG_GETGEN,
        NFT_MSG_GETTABLE,
        NFT_MSG_GETCHAIN,
        NFT_MSG_GETRULE,
        NFT_MSG_GETSET,
        NFT_MSG_GETSETELEM,
        NFT_MSG_GETGEN,
    ]


@pytest.mark.parametrize(
    ("base", "asked"),
    [
        (nft.chain(Hook.POSTROUTING), True),
        (nft.chain(Hook.PREROUTING, priority=-300, type_="filter"), True),
        (nft.chain(Hook.OUTPUT, priority=-200, type_="route"), True),
        (nft.chain(Hook.PREROUTING, priority=-150, type_="filter"), True),
        (nft.chain(Hook.FORWARD, priority=0, type_="filter"), True),
        (nft.chain(Hook.INPUT, priority=0, type_="filter"), False),
        (nft.chain(), False),
    ],
)
def test_rules_that_forwarded_packets_do_not_meet_are_not_asked_for(base, asked):
    """A filter table may have ten thousand rules: of others its chains alone are read."""
    rules = [[dumped(nft.rule()), done()]] if asked else []
    answers = [[dumped(nft.table()), done()], [dumped(base), done()], *rules]
    connection, script = connect(generation(1), *answers, generation(1))
    nftables.read_tables(lambda _: connection, Maps())
    requests = [request for request in script.requests if request.type == NFT_MSG_GETRULE]
    assert [request.payload for request in requests] == [
        nft.nfgenmsg(nft.IP) + nft.name(1, "t")
    ] * asked


@pytest.mark.parametrize(("family", "families"), [(nft.IP, IPV4), (nft.INET, BOTH)])
def test_a_table_has_its_families_and_flags(family, families):
    """An inet table is met by both families; a dormant one says so."""
    table = parse_table(memoryview(nft.table(flags=1, family=family)))
    (built,) = nftables.build([table], {}, {})
    assert (built.families, built.dormant) == (families, True)


def test_tables_that_no_ip_packet_meets_are_left_out():
    """netdev, bridge and arp tables translate nothing."""
    table = parse_table(memoryview(nft.table(family=nft.NETDEV)))
    assert nftables.build([table], {}, {}) == []


def test_a_ruleset_that_changes_meanwhile_is_read_again():
    """Parts of two generations are never put together."""
    connection, _ = connect(
        generation(1),
        *reading(nft.rule(nft.masquerade())),
        generation(2),
        generation(2),
        *reading(),
        generation(2),
    )
    number, (table,), *_ = nftables.read_tables(lambda _: connection, Maps())
    assert (number, table.chains["c"].rules) == (2, [])


def test_a_map_that_goes_with_its_rule_is_a_change():
    """A reload between the rules and their maps is read again, not taken for a failure."""
    connection, _ = connect(
        generation(1),
        *reading(nft.rule(nft.vmap("m")), elements=[wire.error(errno.ENOENT)]),
        generation(2),
        generation(2),
        *reading(nft.rule(nft.immediate(nft.ACCEPT))),
        generation(2),
    )
    number, (table,), *_ = nftables.read_tables(lambda _: connection, Maps())
    assert (number, table.chains["c"].rules) == (2, [Rule(verdict=Verdict.ACCEPT)])


def test_a_map_that_is_missing_without_a_change_is_an_error():
    """Nothing is guessed about where a rule leads."""
    connection, _ = connect(
        generation(1),
        *reading(nft.rule(nft.vmap("m")), elements=[wire.error(errno.ENOENT)]),
        generation(1),
    )
    with pytest.raises(NetlinkError, match="GETSETELEM"):
        nftables.read_tables(lambda _: connection, Maps())


def look(number, *rules, chains, after=None):
    """Return the answers to a look at a table with these chains, of which some are read."""
    listed = [dumped(nft.table()), done()], [dumped(*chains), done()]
    dumps = ([dumped(*each), done()] for each in rules)
    return [generation(number), *listed, *dumps, generation(after or number)]


def jump(chain="c", to="a"):
    return nft.rule(nft.immediate(nft.JUMP, to), chain=chain)


def chains(use):
    """Return a base chain with so many rules, and a user chain."""
    return nft.chain(Hook.POSTROUTING, use=use), nft.chain(called="a", use=2)


def test_a_ruleset_that_never_rests_is_given_up():
    """After eight looks at what looks different it is an error that says so."""
    answers = [
        part
        for n in range(10)
        for part in look(2 * n, [nft.rule()] * n, chains=[chains(n)[0]], after=2 * n + 1)
    ]
    connection, script = connect(*answers)
    with pytest.raises(ReadError, match="changed during each of 8 looks"):
        nftables.read_tables(lambda _: connection, Maps())
    assert len(script.requests) == (2 + 8) * 5


def test_of_a_ruleset_that_changes_all_the_time_what_looks_different_is_read_again():
    """Chains that look the same are not: so it is done before the next change."""
    masquerade = nft.rule(nft.masquerade(), chain="a")
    hasty = [part for n in (1, 3) for part in look(n, [jump()] * n, chains=chains(n), after=n + 1)]
    first = look(5, [jump()] * 5, [masquerade], chains=chains(5), after=6)
    second = look(6, [jump()] * 6, chains=chains(6))
    connection, _ = connect(*hasty, *first, *second)
    found = nftables.read_tables(lambda _: connection, Maps())
    (table,) = found.tables
    assert (found.generation, found.exact) == (6, False)
    assert {name: len(chain.rules) for name, chain in table.chains.items()} == {"c": 6, "a": 1}


def test_a_policy_that_changes_meanwhile_is_seen():
    """It is listed with its chain, whose rules need not be read for it."""
    hasty = [
        part
        for n in (1, 3)
        for part in look(n, [nft.rule()] * n, chains=[nft.chain(Hook.FORWARD)], after=n + 1)
    ]
    drops = nft.chain(Hook.FORWARD, policy=nft.DROP)
    first = look(5, [nft.rule()], chains=[nft.chain(Hook.FORWARD)], after=6)
    connection, _ = connect(*hasty, *first, *look(6, chains=[drops]))
    (table,) = nftables.read_tables(lambda _: connection, Maps()).tables
    assert (table.chains["c"].drops, len(table.chains["c"].rules)) == (True, 1)


def test_a_reading_is_begun_again_at_the_first_change():
    """Else its end would be spoiled by the next one."""
    interrupted = [dumped(nft.rule(), flags=NLM_F_DUMP_INTR)]
    tables, listed, _ = reading()
    _, script = connect(
        generation(1), tables, listed, interrupted, *look(2, [nft.rule()], chains=chains(1))
    )
    hasty = Connection(script, 8.0, lambda: 0.0, hasty=True)
    found = nftables.read_tables(lambda _: hasty, Maps())
    assert (found.generation, found.exact, len(script.requests)) == (2, True, 4 + 5)


def test_what_two_readings_agree_on_is_so():
    """Elements of sets come and go: each time is another generation of the same rules."""
    rule = nft.rule(nft.masquerade())
    answers = [
        part for n in range(9) for part in (generation(n), *reading(rule), generation(n + 1))
    ]
    connection, script = connect(*answers)
    number, (table,), *_ = nftables.read_tables(lambda _: connection, Maps())
    assert (number, len(table.chains["c"].rules), len(script.requests)) == (1, 1, 2 * 5)


def test_an_interrupted_dump_of_rules_is_repeated():
    """Rules of an interrupted dump are not counted twice."""
    first = [dumped(nft.rule(), nft.rule()), done(NLM_F_DUMP_INTR)]
    tables, chains, rules = reading(nft.rule())
    connection, _ = connect(generation(1), tables, chains, first, rules, generation(1))
    _, (table,), *_ = nftables.read_tables(lambda _: connection, Maps())
    assert len(table.chains["c"].rules) == 1


def test_a_reading_without_the_capability_is_denied():
    """The status is that of a missing capability."""
    connection, _ = connect([wire.error(errno.EPERM)])
    with pytest.raises(NetlinkError) as caught:
        nftables.read_tables(lambda _: connection, Maps())
    assert caught.value.status is Status.DENIED is Denied.status
