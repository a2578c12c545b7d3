"""web/fair_queue.py: a turn for each lane, and room for each lane."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.web.fair_queue import FairQueue, lane_of


class Item(str):
    """An item that nobody waits for where its name says so."""

    __slots__ = ()

    def is_abandoned(self):
        return self.startswith("abandoned")


def filled(limit, **lanes):
    queue = FairQueue(limit)
    for lane, names in lanes.items():
        for name in names.split():
            assert queue.push(lane, Item(name)) is None
    return queue


def drained(queue):
    return [queue.pop() for _ in range(len(queue))]


def test_lanes_have_their_turn():
    """One item of each lane, in the order of arrival, and so on."""
    served = drained(filled(9, a="a1 a2 a3 a4", b="b1", c="c1 c2"))
    assert " ".join(served) == "a1 b1 c1 a2 c2 a3 a4"


def test_the_longest_lane_gives_up_its_newest():
    """Who sends most makes room; a newcomer of the longest lane goes itself."""
    queue = filled(4, a="a1 a2 a3", b="b1")
    assert queue.push("c", Item("c1")) == "a3"
    assert queue.push("a", Item("a4")) == "a4"
    assert " ".join(drained(queue)) == "a1 b1 c1 a2"


def test_what_is_abandoned_goes_first():
    """Of the longest lane, the oldest that nobody waits for."""
    queue = filled(4, a="a1 abandoned1 abandoned2", b="b1")
    assert queue.push("a", Item("a2")) == "abandoned1"
    assert queue.push("b", Item("b2")) == "abandoned2"


def test_of_lanes_of_one_length_any_gives_way():
    """Of many peers with one item each none is always the one that goes."""
    gone = set()
    for _ in range(200):
        queue = filled(4, a="a", b="b", c="c", d="d")
        gone.add(queue.push("e", Item("e")))
        assert len(drained(queue)) == 4
    assert gone == set("abcde")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60), st.integers(1, 5))
def test_nothing_is_lost(steps, limit):
    """Each item is served once or given up once, and there are never more than the limit."""
    queue, given_up, served = FairQueue(limit), [], []
    for number, (lane, take) in enumerate(steps):
        dropped = queue.push(lane, Item(number))
        given_up += [dropped] if dropped else []
        assert len(queue) <= limit
        if take:
            served.append(queue.pop())
    served += drained(queue)
    assert sorted(map(int, given_up + served)) == list(range(len(steps)))


@pytest.mark.parametrize(
    ("address", "lane"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_lanes_of_addresses(address, lane):
    """IPv4 addresses are apart, IPv6 addresses by network; a Unix socket is one lane."""
    assert lane_of(address) == lane
