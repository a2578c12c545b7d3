"""kernel/nft/map_families.py: a verdict map may let one family pass."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.netlink.attributes import nest, pack
from netfilter_exporter.kernel.nft import matches
from netfilter_exporter.kernel.nft.map_families import family_place, parse_family, read_families
from netfilter_exporter.kernel.nft.maps import elements
from netfilter_exporter.rules.detail import Form, MatchReader
from netfilter_exporter.rules.families import BOTH, IPV4, IPV6
from netfilter_exporter.rules.match import Field
from support import corpus, nft
from support.script import connect, done, dumped

WAN = b"wan0".ljust(16, b"\0")


def element(chain, *keys):
    """Return a list element: a key, the end of its interval if there are two, and a jump."""
    parts = [nest(type_, pack(1, key)) for type_, key in zip((1, 10), keys)]
    return nest(1, *parts, nest(2, nft.verdict(nft.JUMP, chain)))


def form(*lookups):
    return Form(0, tuple(MatchReader(matches.in_set, (fields, False)) for fields in lookups))


@pytest.mark.parametrize(
    ("lookups", "place"),
    [
        ([(Field.FAMILY,)], 0),
        ([(Field.FAMILY, Field.OUTPUT_INTERFACE)], 0),
        ([(Field.OUTPUT_INTERFACE, Field.FAMILY)], 16),
        ([(Field.PROTOCOL, Field.FAMILY)], 4),
        ([(None, Field.FAMILY)], None),
        ([(Field.OUTPUT_INTERFACE,)], None),
        ([(Field.FAMILY,), (Field.SOURCE_IPV4,)], None),
        ([], None),
    ],
)
def test_where_the_key_has_the_family(lookups, place):
    """Each field takes whole words; behind an unknown one, or of two lookups, it is unknown."""
    assert family_place(form(*lookups)) == place


@pytest.mark.parametrize(
    ("keys", "at", "families"),
    [
        ([b"\2"], 0, IPV4),
        ([b"\12\0\0\0" + WAN], 0, IPV6),
        ([WAN + b"\12\0\0\0"], 16, IPV6),
        ([b"\2\0\0\0" + WAN, b"\2\0\0\0" + WAN], 0, IPV4),
        ([b"\2", b"\12"], 0, BOTH),
        ([b"\3"], 0, BOTH),
        ([], 0, BOTH),
        ([b"\2"], 4, BOTH),
    ],
)
def test_the_family_of_an_element(keys, at, families):
    """An interval, a key for everything and an unknown number let both pass."""
    (parsed,) = elements(memoryview(nft.elements_of(element("c", *keys))))
    assert parse_family(parsed, at) == ("c", families)


def test_a_chain_that_two_elements_lead_to():
    """Both families come to it."""
    listed = nft.elements_of(element("a", b"\2"), element("a", b"\12"), element("b", b"\12"))
    connection, _ = connect([dumped(listed), done()])
    assert read_families(connection, ((nft.INET, "t"), "m"), 0) == {"a": BOTH, "b": IPV6}


@given(corpus.mutated([nft.elements_of(element("c", b"\2"))]), st.integers(0, 20))
def test_any_bytes_make_families_or_an_error(content, at):
    """No bytes make anything else."""
    with contextlib.suppress(ReadError):
        for each in elements(memoryview(content)):
            chain, families = parse_family(each, at)
            assert isinstance(chain, str)
            assert families <= BOTH
