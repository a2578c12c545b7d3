"""rules/passage.py: an interface is blocked only if no new flow from it can pass."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.addresses import Network, parse_network
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.queue_listeners import parse_queue_listeners
from netfilter_exporter.rules.detail import Form, Queue
from netfilter_exporter.rules.families import BOTH, IPV6, Family, Hook
from netfilter_exporter.rules.incoming import Incoming
from netfilter_exporter.rules.match import Field, InSet, Opaque, masked, named, ranged
from netfilter_exporter.rules.model import Action, Chain, Rule, Verdict
from netfilter_exporter.rules.passage import Passage
from support.rules import filter_table, goto, jump, matching, nat_table, verdict

ACCEPT, DROP, BACK = verdict("accept"), verdict("drop"), verdict("return")
LAN = named(Field.INPUT_INTERFACE, b"lan\0")
GUEST = named(Field.INPUT_INTERFACE, b"guest\0")
WAN = named(Field.OUTPUT_INTERFACE, b"wan\0")
ESTABLISHED = ranged(Field.CT_STATE, [(2, 2), (4, 4)])
PUBLISHED = masked(Field.CT_STATUS, 0x20, 0, negated=True)  # ct status dnat
TCP = ranged(Field.PROTOCOL, [(6, 6)])
ECHO = (ranged(Field.PROTOCOL, [(1, 1)]), Opaque("xt", b"6:icmp 0\x08", stable=True))


def queue(number, *, bypass=False):
    """Return a rule that hands packets to a queue."""
    return Rule(verdict=Verdict.QUEUE, form=Form(queue=Queue(number, number, bypass)))


def block(*tables, interface="lan", family=Family.IPV4, listeners=frozenset(), published=False):
    """Return what blocks an interface."""
    passage = Passage()
    for table in tables:
        passage.add(table)
    passage.add_publishing(tables)
    return passage.block(Incoming(family, interface, 7), listeners, published=published)


#: Rules of a forward chain with policy drop, and whether a new flow from lan may pass.
DROPPING = {
    "no rule": ([], False),
    "replies alone": ([matching(ACCEPT, ESTABLISHED)], False),
    "replies and pings, as ufw": ([matching(ACCEPT, ESTABLISHED), matching(ACCEPT, *ECHO)], False),
    "everything": ([ACCEPT], True),
    "the interface": ([matching(ACCEPT, LAN)], True),
    "another interface": ([matching(ACCEPT, GUEST)], False),
    "an uplink": ([matching(ACCEPT, WAN)], True),
    "an index": ([matching(ACCEPT, ranged(Field.INPUT_INDEX, [(7, 7)]))], True),
    "another index": ([matching(ACCEPT, ranged(Field.INPUT_INDEX, [(8, 8)]))], False),
    "one protocol": ([matching(ACCEPT, TCP)], True),
    "a set": ([matching(ACCEPT, InSet((Field.SOURCE_IPV4,), "s"))], True),
    "something unknown": ([matching(ACCEPT, Opaque("xt tomorrow"))], True),
    "behind a drop": ([matching(DROP, LAN), ACCEPT], False),
    "behind a drop for some": ([matching(DROP, LAN, TCP), ACCEPT], True),
    "in a chain": ([jump("user")], True),
    "in a chain for another": ([matching(jump("user"), GUEST)], False),
    "in a chain that is left": ([goto("back"), ACCEPT], False),
    "behind a chain that comes back": ([jump("back"), ACCEPT], True),
    "behind a chain that drops": ([jump("dropping"), ACCEPT], False),
    "a map of verdicts": ([Rule(conditional=True, maps=("m",))], True),
    "local packets": ([matching(ACCEPT, ranged(Field.DESTINATION_TYPE, [(2, 2)]))], False),
    "IPv6": ([ACCEPT._replace(conditional=True, families=IPV6)], False),
}
CHAINS = {"user": [matching(ACCEPT, LAN)], "back": [matching(BACK, LAN)], "dropping": [DROP]}


@pytest.mark.parametrize(("rules", "passes"), DROPPING.values(), ids=DROPPING)
def test_a_policy_drop(rules, passes):
    """It blocks what no rule can accept; a match that cannot be decided may accept."""
    table = filter_table(Hook.FORWARD, 0, *rules, families=BOTH, drops=True, **CHAINS)
    assert (block(table) is None) is passes


@pytest.mark.parametrize("hook", [Hook.PREROUTING, Hook.FORWARD, Hook.POSTROUTING])
def test_a_drop_that_all_meet(hook):
    """It blocks at each hook that forwarded packets pass; not at the others."""
    found = block(filter_table(hook, -300, Rule(), DROP))
    assert (found.hook, found.chain, found.position) == (hook, "base", 2)
    assert block(filter_table(Hook.INPUT, 0, DROP)) is None
    assert block(filter_table(hook, 0, matching(DROP, GUEST))) is None
    assert block(filter_table(hook, 0, matching(DROP, GUEST)), interface="guest")


def test_an_accept_in_another_table_does_not_help():
    """Packets pass all base chains: what one lets pass another may drop."""
    tables = [
        filter_table(Hook.FORWARD, 0, matching(ACCEPT, LAN)),
        filter_table(Hook.FORWARD, 0, matching(ACCEPT, GUEST), drops=True),
    ]
    assert block(*tables).chain == ""
    assert block(*tables, interface="guest") is None


def test_a_nat_chain_with_policy_drop():
    """What it translates passes; a published port is no way out."""
    table = filter_table(Hook.PREROUTING, -100, drops=True)
    base = table.chains["base"]._replace(type="nat")
    dnat = matching(Rule(action=Action.DNAT), TCP)
    for rules, passes in (([], False), ([dnat], False), ([matching(ACCEPT, LAN)], True)):
        chains = {"base": base._replace(rules=rules)}
        assert (block(table._replace(chains=chains)) is None) is passes
    post = Chain(
        [matching(Rule(action=Action.MASQUERADE), WAN)], Hook.POSTROUTING, "nat", 100, True
    )
    assert block(table._replace(chains={"post": post})) is None


DNAT = matching(Rule(action=Action.DNAT), TCP)
LOCAL = ranged(Field.DESTINATION_TYPE, [(2, 2)])
#: Rules of a NAT chain at prerouting, and whether they may publish something for lan.
PUBLISHING = {
    "nothing": ([], False),
    "anybody": ([DNAT], True),
    "redirect": ([matching(Rule(action=Action.REDIRECT), TCP)], True),
    "lan": ([matching(DNAT, LAN)], True),
    "another interface": ([matching(DNAT, GUEST)], False),
    "this host's addresses, as Docker": ([matching(jump("dnat"), LOCAL)], True),
    "in a chain for another": ([matching(jump("dnat"), GUEST)], False),
    "behind a return": ([matching(jump("empty"), LAN), matching(BACK, LAN), DNAT], False),
    "behind a return for some": ([matching(BACK, TCP), DNAT], True),
    "behind an accept": ([ACCEPT, DNAT], False),
    "behind what does nothing": ([jump("empty"), Rule(), DNAT], True),
    "a map": ([Rule(conditional=True, maps=("m",))], True),
}


@pytest.mark.parametrize(("rules", "may"), PUBLISHING.values(), ids=PUBLISHING)
def test_what_accepts_published_flows(rules, may):
    """It lets flows of an interface pass only if something may be published for that."""
    table = filter_table(Hook.FORWARD, 0, matching(ACCEPT, PUBLISHED), Rule(verdict=Verdict.DROP))
    nat = nat_table(pre=rules, dnat=[DNAT], empty=[])
    assert (block(table, nat) is None) is may
    assert block(table, nat._replace(dormant=True))
    assert block(table, nat, published=True) is None
    assert block(table)
    assert block(table, nat._replace(families=IPV6))


def test_other_bits_of_the_status_are_unknown():
    """A flow that comes again may be assured; what is not published is surely not that."""
    assured = masked(Field.CT_STATUS, 0x04, 0, negated=True)
    assert block(filter_table(Hook.FORWARD, 0, matching(ACCEPT, assured), DROP)) is None
    unpublished = masked(Field.CT_STATUS, 0x20, 0)
    assert block(filter_table(Hook.FORWARD, 0, matching(DROP, unpublished)))


def test_a_queue_to_which_nobody_listens():
    """Its packets are dropped, unless they bypass it; where nothing is known, they pass."""
    table = filter_table(Hook.FORWARD, -150, queue(3))
    assert block(table).queue == 3
    assert block(table, listeners=frozenset({3})) is None
    assert block(table, listeners=None) is None
    assert block(filter_table(Hook.FORWARD, -150, queue(3, bypass=True))) is None
    several = Rule(verdict=Verdict.QUEUE, form=Form(queue=Queue(1, 4, False)))
    assert block(filter_table(Hook.FORWARD, 0, several), listeners=frozenset({2})) is None


def test_states_are_unknown_before_tracking():
    """A raw chain knows no new flow: a match on states decides nothing there."""
    rules = [matching(DROP, ranged(Field.CT_STATE, [(8, 8)]))]
    assert block(filter_table(Hook.PREROUTING, -300, *rules)) is None
    assert block(filter_table(Hook.PREROUTING, -150, *rules))


def test_a_dormant_table_drops_nothing():
    """Its chains are not hooked."""
    table = filter_table(Hook.FORWARD, 0, drops=True)
    assert block(table)
    assert block(table._replace(dormant=True)) is None


def test_a_circle_of_jumps_ends():
    """The kernel allows none; nothing is concluded from one."""
    table = filter_table(Hook.FORWARD, 0, jump("a"), drops=True, a=[jump("b")], b=[jump("a")])
    assert block(table) is None


def test_interfaces_that_rules_accept_by_name():
    """Of new flows alone, also behind a jump that names them."""
    table = filter_table(
        Hook.FORWARD,
        0,
        matching(ACCEPT, LAN),
        matching(ACCEPT, GUEST, ESTABLISHED),
        matching(jump("user"), named(Field.INPUT_INTERFACE, b"vms\0")),
        drops=True,
        user=[ACCEPT],
    )
    passage = Passage()
    passage.add(table)
    assert passage.accepts == {"lan", "vms"}


# -- kernel/queue_listeners.py, kernel/addresses.py ----------------------------------------------

LINES = b"""\
    1  4242     7 2 65531     3     2       12  1
   17  4243     0 2 65531     0     0        0  1
"""


def test_a_line_begins_with_the_number_of_a_queue():
    """One line for each queue that a program reads."""
    assert parse_queue_listeners(LINES, "x") == {1, 17}
    assert parse_queue_listeners(b"", "x") == frozenset()


@given(st.binary())
def test_any_bytes_are_queues_or_an_error(content):
    """Nothing else comes out."""
    with contextlib.suppress(ReadError):
        assert all(isinstance(number, int) for number in parse_queue_listeners(content, "x"))


def test_the_network_of_an_address():
    """The prefix of the address, or of the other end where there is one."""
    message = bytes((2, 24, 0, 0)) + (5).to_bytes(4, "little")
    message += b"\x08\0\x01\0" + bytes((10, 1, 2, 3)) + b"\x08\0\x02\0" + bytes((10, 1, 2, 9))
    first = (10 << 24) + (1 << 16) + (2 << 8)
    assert parse_network(memoryview(message)) == Network(5, first, first + 255)
    assert parse_network(memoryview(bytes((2, 64, 0, 0, 5, 0, 0, 0)))) is None
