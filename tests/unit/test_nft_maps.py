"""kernel/nft/maps.py: where verdict maps lead, and what is remembered of them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.names import Names
from netfilter_exporter.kernel.nft.maps import Maps, Use, elements, parse_element, parse_set
from netfilter_exporter.kernel.nft.uapi import (
    NFT_MSG_GETSET,
    NFT_MSG_GETSETELEM,
    NFT_SET_ANONYMOUS,
    NFT_SET_CONSTANT,
    NFT_SET_TIMEOUT,
)
from netfilter_exporter.kernel.parser_cache import parser_cache
from support import corpus, nft
from support.script import connect, done, dumped

TABLE = nft.IP, "t"
KEY = TABLE, "m"
FIXED = NFT_SET_ANONYMOUS | NFT_SET_CONSTANT
RULE = 5
ELEMENTS = nft.elements(nft.verdict(nft.GOTO, "a"), nft.verdict(nft.ACCEPT))


def leads_to(*chains):
    """Return the answer to a question for the elements of a map."""
    return [dumped(nft.elements(*(nft.verdict(nft.GOTO, chain) for chain in chains))), done()]


def listing(flags=FIXED):
    """Return the answer to a question for all sets."""
    return [dumped(nft.set_("m", flags)), done()]


def named(*names, table=TABLE):
    """Return chains of these names, whose handles are 1, 2, ..."""
    return [(table, bytes([n]), name, b"", None) for n, name in enumerate(names, 1)]


CHAINS = named("a", "b")


def readings(*answers, handles=(1, 1), rules=(RULE, RULE), chains=(CHAINS, CHAINS)):
    """Return what two readings in a row find, and what was asked."""
    connection, script = connect(*answers)
    maps = Maps()
    found = [
        read(maps, connection, [Use(TABLE, rule, "m")], {TABLE: handle}, listed)[0][KEY]
        for handle, rule, listed in zip(handles, rules, chains)
    ]
    return found, [request.type for request in script.requests]


def read(maps, connection, uses, tables, chains=CHAINS):
    """Return where the maps lead that rules use, and whether that lasts."""
    reading = maps.begin(connection, tables, lambda: chains, Names())
    reading.follow(uses)
    maps.end(reading)
    return reading.found, reading.lasting


def targets(message, parse=None):
    """Return the chains that the elements in a message lead to."""
    parse = parse or parser_cache(parse_element)
    return [parse(element) for element in elements(memoryview(message))]


@given(corpus.mutated([ELEMENTS]) | corpus.mutated([nft.set_("m", FIXED)]) | st.binary(max_size=8))
def test_any_bytes_make_a_result_or_an_error(content):
    """No bytes make anything but names of chains, a set, or a ReadError."""
    with contextlib.suppress(ReadError):
        assert all(isinstance(chain, str) for chain in targets(content))
    with contextlib.suppress(ReadError):
        assert parse_set(memoryview(content)).make(memoryview(content)).fixed in {True, False}


@given(st.lists(corpus.mutated([ELEMENTS]), max_size=8))
def test_recognising_an_element_is_as_good_as_parsing_it(messages):
    """Whatever came before, an element has the result that it has alone."""
    parse = parser_cache(parse_element)
    for message in (ELEMENTS, *messages, ELEMENTS):
        alone = together = None
        with contextlib.suppress(ReadError):
            alone = targets(message)
        with contextlib.suppress(ReadError):
            together = targets(message, parse)
        assert alone == together


def test_sets_of_one_shape_are_told_apart():
    """What was seen of one set is not taken for what another one says."""
    sets = [nft.set_(name, FIXED) for name in ("a", "b", "cc", "d")]
    sets.append(nft.set_("e", 0))
    parse = parser_cache(parse_set)
    found = [parse(memoryview(each)) for each in sets]
    assert [(each.key[1], each.fixed) for each in found] == [
        ("a", True),
        ("b", True),
        ("cc", True),
        ("d", True),
        ("e", False),
    ]


def test_elements_lead_to_the_chains_of_their_verdicts():
    """Elements that accept or drop lead nowhere."""
    message = nft.elements(
        nft.verdict(nft.GOTO, "a"), nft.verdict(nft.DROP), nft.verdict(nft.JUMP, "b")
    )
    assert targets(message) == ["a", "", "b"]


def test_a_map_that_cannot_change_is_read_once():
    """The second reading asks nothing: its rule is still there."""
    found, asked = readings(listing(), leads_to("a", "b", "a"))
    assert found == [("a", "b")] * 2
    assert asked == [NFT_MSG_GETSET, NFT_MSG_GETSETELEM]


def test_a_chain_that_is_renamed_is_followed():
    """An element leads to a chain, whatever that is called; two may even change names."""
    swapped = named("b", "a")
    found, asked = readings(listing(), leads_to("a"), chains=(CHAINS, swapped))
    assert found == [("a",), ("b",)]
    assert asked == [NFT_MSG_GETSET, NFT_MSG_GETSETELEM]


def test_where_a_chain_was_not_listed_nothing_is_remembered():
    """It came between the two questions, and the reading will be made again."""
    answers = leads_to("a"), leads_to("b")
    found, asked = readings(listing(), *answers, chains=(named("x"), CHAINS))
    assert found == [("a",), ("b",)]
    assert asked == [NFT_MSG_GETSET, NFT_MSG_GETSETELEM, NFT_MSG_GETSETELEM]


@pytest.mark.parametrize("flags", [0, FIXED])
def test_elements_that_expire_do_not_last(flags):
    """They go without another generation of the ruleset."""
    answers = listing(flags | NFT_SET_TIMEOUT), leads_to("a"), leads_to("a")
    connection, _ = connect(*answers)
    maps = Maps()
    for _ in range(2):
        found, lasting = read(maps, connection, [Use(TABLE, RULE, "m")], {TABLE: 1})
        assert (found, lasting) == ({KEY: ("a",)}, False)


@pytest.mark.parametrize("flags", [NFT_SET_CONSTANT, NFT_SET_ANONYMOUS, 0])
def test_a_map_that_may_change_is_read_again(flags):
    """One with a name of its own, or that is not constant; but that it is such one stays so."""
    found, asked = readings(listing(flags), leads_to("a"), leads_to("b"))
    assert found == [("a",), ("b",)]
    assert asked == [NFT_MSG_GETSET, NFT_MSG_GETSETELEM, NFT_MSG_GETSETELEM]


@pytest.mark.parametrize(
    "lives",
    [{"rules": (RULE, RULE + 1)}, {"handles": (1, 2)}, {"handles": (0, 0)}],
    ids=["another rule", "another table", "before v4.16"],
)
def test_a_map_of_another_rule_is_read_again(lives):
    """One that may be another of the same name is never taken for the old one."""
    found, asked = readings(listing(), leads_to("a"), listing(), leads_to("b"), **lives)
    assert found == [("a",), ("b",)]
    assert asked == [NFT_MSG_GETSET, NFT_MSG_GETSETELEM] * 2


def test_a_map_that_two_rules_use_is_read_once_a_reading():
    """As that of kube-proxy's services is, which two chains look into."""
    connection, script = connect(listing(0), leads_to("a"))
    uses = [Use(TABLE, 1, "m"), Use(TABLE, 2, "m")]
    assert read(Maps(), connection, uses, {TABLE: 1}) == ({KEY: ("a",)}, True)
    assert [request.type for request in script.requests] == [NFT_MSG_GETSET, NFT_MSG_GETSETELEM]


def test_maps_of_two_tables_are_told_apart():
    """Also where tables have no handles, and rules of both have the same."""
    other = nft.INET, "t"
    connection, _ = connect(listing(0), leads_to("a"), leads_to("b"))
    uses = [Use(TABLE, 1, "m"), Use(other, 1, "m")]
    found, _ = read(Maps(), connection, uses, {})
    assert found == {(TABLE, "m"): ("a",), (other, "m"): ("b",)}


def test_what_is_gone_is_forgotten():
    """Memory follows the ruleset; where no rule uses a map, nothing is asked."""
    connection, script = connect(listing(), leads_to("a"), listing(), leads_to("a"))
    maps = Maps()
    for uses in ([Use(TABLE, RULE, "m")], [], [Use(TABLE, RULE, "m")]):
        read(maps, connection, uses, {TABLE: 1})
    assert [request.type for request in script.requests] == [NFT_MSG_GETSET, NFT_MSG_GETSETELEM] * 2
