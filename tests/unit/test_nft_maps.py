"""kernel/nft_maps.py: where verdict maps lead, and what is remembered of them."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.nft_maps import (
    NFT_MSG_GETSET,
    NFT_MSG_GETSETELEM,
    NFT_SET_ANONYMOUS,
    NFT_SET_CONSTANT,
    Maps,
    parse_elements,
    parse_set,
)
from netfilter_exporter.kernel.shapes import Shapes
from support import corpus, nft
from support.script import connect, done, dumped

TABLE = nft.IP, "t"
KEY = TABLE, "m"
FIXED = NFT_SET_ANONYMOUS | NFT_SET_CONSTANT


def leads_to(*chains):
    """Return the answer to a question for the elements of a map."""
    return [dumped(nft.elements(*(nft.verdict(nft.GOTO, chain) for chain in chains))), done()]


def listing(flags=FIXED, handle=7):
    """Return the answer to a question for all sets."""
    return [dumped(nft.set_("m", flags, handle)), done()]


def readings(*answers, handles=(1, 1)):
    """Return what two readings in a row find, and what was asked."""
    connection, script = connect(*answers)
    maps = Maps()
    found = [maps.read(connection, [KEY], {TABLE: handle})[KEY] for handle in handles]
    return found, [request.type for request in script.requests]


@given(
    corpus.mutated([nft.elements(nft.verdict(nft.GOTO, "a"), nft.verdict(nft.ACCEPT))])
    | corpus.mutated([nft.set_("m", FIXED, 7)])
    | st.binary(max_size=8)
)
def test_any_bytes_make_a_result_or_an_error(content):
    """No bytes make anything but names of chains, a set, or a ReadError."""
    message = memoryview(content)
    with contextlib.suppress(ReadError):
        assert all(isinstance(chain, str) and chain for chain in parse_elements(message))
    with contextlib.suppress(ReadError):
        assert parse_set(message).make(message).handle >= 0


def test_sets_of_one_shape_are_told_apart():
    """What was seen of one set is not taken for what another one says."""
    sets = [nft.set_(name, FIXED, number) for number, name in enumerate(("a", "b", "cc", "d"), 1)]
    sets.append(nft.set_("e", 0, 5))
    parse = Shapes(parse_set)
    found = [parse(memoryview(each)) for each in sets]
    assert [(each.key[1], each.fixed, each.handle) for each in found] == [
        ("a", True, 1),
        ("b", True, 2),
        ("cc", True, 3),
        ("d", True, 4),
        ("e", False, 5),
    ]


def test_elements_lead_to_the_chains_of_their_verdicts():
    """Elements that accept or drop lead nowhere; a chain is named once."""
    message = nft.elements(
        nft.verdict(nft.GOTO, "a"), nft.verdict(nft.DROP), nft.verdict(nft.JUMP, "b")
    )
    assert parse_elements(memoryview(message)) == ("a", "b")


def test_a_map_that_cannot_change_is_read_once():
    """The second reading asks which maps there are, and no more."""
    found, asked = readings(listing(), leads_to("a", "b", "a"), listing())
    assert found == [("a", "b")] * 2
    assert asked == [NFT_MSG_GETSET, NFT_MSG_GETSETELEM, NFT_MSG_GETSET]


@pytest.mark.parametrize(
    ("first", "second", "handles"),
    [
        (listing(NFT_SET_CONSTANT), listing(NFT_SET_CONSTANT), (1, 1)),
        (listing(NFT_SET_ANONYMOUS), listing(NFT_SET_ANONYMOUS), (1, 1)),
        (listing(0), listing(0), (1, 1)),
        (listing(handle=7), listing(handle=8), (1, 1)),
        (listing(handle=0), listing(handle=0), (1, 1)),  # before v4.16
        (listing(), listing(), (1, 2)),
        (listing(), listing(), (0, 0)),
    ],
    ids=["named", "not constant", "neither", "another", "no handle", "another table", "no table"],
)
def test_any_other_map_is_read_again(first, second, handles):
    """One that may have changed, or is another of the same name, is never taken for the old one."""
    found, asked = readings(first, leads_to("a"), second, leads_to("b"), handles=handles)
    assert found == [("a",), ("b",)]
    assert asked == [NFT_MSG_GETSET, NFT_MSG_GETSETELEM] * 2


def test_what_is_gone_is_forgotten():
    """Memory follows the ruleset; where no rule uses a map, nothing is asked."""
    connection, script = connect(listing(), leads_to("a"), listing(), leads_to("a"))
    maps = Maps()
    for used in ([KEY], [], [KEY]):
        maps.read(connection, used, {TABLE: 1})
    assert [request.type for request in script.requests] == [NFT_MSG_GETSET, NFT_MSG_GETSETELEM] * 2
