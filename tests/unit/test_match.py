"""rules/match.py: what is proven about two matches holds for every number."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.rules.match import (
    Bits,
    Field,
    InIpset,
    InSet,
    Opaque,
    Range,
    contains,
    covers,
    excludes,
    interface_names,
    intersection,
    intervals_of,
    masked,
    named,
    narrowed,
    ranged,
)
from support.rules import covers_all

#: One byte, so that every number can be tried.
BYTE = Field.PROTOCOL
ALL = range(256)

pairs = st.lists(st.tuples(st.sampled_from(ALL), st.sampled_from(ALL)), max_size=3)
ranges = st.builds(
    lambda found, negated: ranged(BYTE, found, negated=negated), pairs, st.booleans()
)
bits = st.builds(
    lambda mask, value, negated: masked(BYTE, mask, value, negated=negated),
    st.sampled_from(ALL),
    st.sampled_from(ALL),
    st.booleans(),
)
matches = ranges | bits


def accepts(match, number):
    """Whether a match of one field accepts a number, by its definition."""
    if isinstance(match, Bits):
        return (number & match.mask == match.value) is not match.negated
    return any(first <= number <= last for first, last in match.intervals)


def network(text):
    """Return the match on a source in an IPv4 network."""
    found = ipaddress.IPv4Network(text)
    return masked(Field.SOURCE_IPV4, int(found.netmask), int(found.network_address))


def interface(name):
    """Return the match on an output interface, or on a prefix of its name."""
    return named(Field.OUTPUT_INTERFACE, (name + "\0").replace("*\0", "").encode())


@given(pairs, st.sampled_from(ALL), st.booleans())
def test_a_range_accepts_what_it_says(found, number, negated):
    """A negated one accepts exactly the other numbers."""
    inside = any(first <= number <= last for first, last in found)
    assert accepts(ranged(BYTE, found, negated=negated), number) is (inside is not negated)


@given(st.sampled_from(ALL), st.sampled_from(ALL), st.sampled_from(ALL), st.booleans())
def test_a_mask_accepts_what_it_says(mask, value, number, negated):
    """Whether it became a range or not."""
    holds = (number & mask == value) is not negated
    assert accepts(masked(BYTE, mask, value, negated=negated), number) is holds


@given(matches, matches)
def test_what_covers_accepts_all_that_is_covered(outer, inner):
    """Never claimed where one number is accepted by the inner match alone."""
    if covers(outer, inner):
        assert all(accepts(outer, n) for n in ALL if accepts(inner, n))


@given(ranges, ranges)
def test_every_range_that_covers_is_found(outer, inner):
    """Of ranges nothing is missed."""
    expected = all(accepts(outer, n) for n in ALL if accepts(inner, n))
    assert covers(outer, inner) is expected


@given(st.lists(matches, max_size=3), st.lists(matches, max_size=3))
def test_rules_that_cover(outer, inner):
    """All matches of a rule have to accept, of the covering one too; nor do excluded ones meet."""

    def accepted(found):
        return {n for n in ALL if all(accepts(match, n) for match in found)}

    if covers_all(outer, inner):
        assert accepted(inner) <= accepted(outer)
    if excludes(outer, inner):
        assert not accepted(inner) & accepted(outer)
    assert accepted(narrowed(inner)) == accepted(inner)


@given(pairs, pairs)
def test_intervals(one, other):
    """Containment and intersection are those of the sets of numbers."""
    left, right = intervals_of(one), intervals_of(other)
    numbers = [{n for a, b in found for n in range(a, b + 1)} for found in (left, right)]
    assert contains(left, right) is (numbers[1] <= numbers[0])
    both = {n for a, b in intersection(left, right) for n in range(a, b + 1)}
    assert both == numbers[0] & numbers[1]


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        (network("10.0.0.0/8"), network("10.1.0.0/16"), True),
        (network("10.1.0.0/16"), network("10.0.0.0/8"), False),
        (network("0.0.0.0/0"), network("10.0.0.0/8"), True),
        (interface("eth*"), interface("eth0"), True),
        (interface("eth0"), interface("eth0"), True),
        (interface("eth0"), interface("eth01"), False),
        (interface("eth0"), interface("eth*"), False),
        (interface("eth0"), network("10.0.0.0/8"), False),
        (InSet((BYTE,), "s"), InSet((BYTE,), "s"), True),
        (InSet((BYTE,), "s"), InSet((BYTE,), "s", negated=True), False),
        (InSet((BYTE,), "s"), InSet((BYTE,), "t"), False),
        (InIpset(1, 1, 2), InIpset(1, 1, 2), True),
        (InIpset(1, 1, 2), InIpset(2, 1, 2), False),
        (Opaque("x", b"1", stable=True), Opaque("x", b"1", stable=True), True),
        (Opaque("x", b"1", stable=True), Opaque("x", b"2", stable=True), False),
        (Opaque("limit", b"1"), Opaque("limit", b"1"), False),
    ],
)
def test_covers(outer, inner, expected):
    """Prefixes, names and sets; what is not stable covers nothing, not even itself."""
    assert covers(outer, inner) is expected


def test_half_open_ranges_are_one():
    """``>= 80`` with ``<= 90`` covers what one range does."""
    halves = [ranged(BYTE, [(80, 255)]), ranged(BYTE, [(0, 90)])]
    assert covers_all([ranged(BYTE, [(80, 90)])], halves)
    assert covers_all(halves, [ranged(BYTE, [(80, 90)])])
    assert not covers_all([ranged(BYTE, [(81, 90)])], halves)


def test_a_state_is_one_bit():
    """``ct state new,established`` is a set of states, and its opposite the others."""
    some = masked(Field.CT_STATE, 0x0A, 0, negated=True)
    assert (some.intervals, some.negated) == (((2, 2), (8, 8)), False)
    none = masked(Field.CT_STATE, 0x0A, 0)
    assert none.negated
    assert covers(none, ranged(Field.CT_STATE, [(4, 4)]))
    assert excludes([some], [none])


def test_names_of_interfaces():
    """Whole names are names again; a wildcard has none."""
    assert interface_names(interface("wan0")) == ("wan0",)
    assert interface_names(interface("wan*")) == ()
    assert isinstance(interface("wan*"), Range)
