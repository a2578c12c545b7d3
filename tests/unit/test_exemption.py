"""rules/exemption.py: whether all that arrives at an interface is exempted from tracking."""

import pytest

from netfilter_exporter.rules.exemption import exempts_arriving
from netfilter_exporter.rules.families import IPV6, Family, Hook
from netfilter_exporter.rules.incoming import Incoming
from netfilter_exporter.rules.match import Field, named, ranged
from netfilter_exporter.rules.model import Rule
from support.rules import filter_table, goto, jump, matching, verdict

LAN = named(Field.INPUT_INTERFACE, b"lan\0")
WAN = named(Field.INPUT_INTERFACE, b"wan\0")
NOT_WAN = named(Field.INPUT_INTERFACE, b"wan\0", negated=True)
TEN = ranged(Field.SOURCE_IPV4, [(0x0A000000, 0x0AFFFFFF)])
TCP = ranged(Field.PROTOCOL, [(6, 6)])
DNS = ranged(Field.DESTINATION_PORT, [(53, 53)])
NOTRACK, ZONE = Rule(notrack=True), Rule(zone=True)
ACCEPT, RETURN = verdict("accept"), verdict("return")
CHAINS = {
    "notracks": [matching(NOTRACK, LAN)],
    "returns": [matching(RETURN, LAN), NOTRACK],
    "some_return": [matching(RETURN, TCP), NOTRACK],
    "accepts": [matching(ACCEPT, TCP)],
}

#: Rules of a raw chain, and whether they exempt all that lan sends, from 10.0.1.0/24 alone.
RULES = {
    "no rule": ([], False, False),
    "all": ([NOTRACK], True, True),
    "the interface": ([matching(NOTRACK, LAN)], True, True),
    "another": ([matching(NOTRACK, WAN)], False, False),
    "all but another": ([matching(NOTRACK, NOT_WAN)], True, True),
    "its network": ([matching(NOTRACK, TEN)], False, True),
    "one protocol": ([matching(NOTRACK, LAN, TCP)], False, False),
    "one port": ([matching(NOTRACK, LAN, DNS)], False, False),
    "another family": ([NOTRACK._replace(families=IPV6)], False, False),
    "behind an accept": ([matching(ACCEPT, DNS), NOTRACK], False, False),
    "behind an accept for another": ([matching(ACCEPT, WAN), NOTRACK], True, True),
    "behind a return": ([matching(RETURN, DNS), NOTRACK], False, False),
    "behind a zone": ([matching(ZONE, DNS), NOTRACK], False, False),
    "behind a map": ([Rule(maps=("m",)), NOTRACK], False, False),
    "in a chain": ([jump("notracks")], True, True),
    "in a chain for some": ([matching(jump("notracks"), TCP)], False, False),
    "in a chain that is left": ([goto("notracks")], True, True),
    "in a chain from which all return": ([jump("returns")], False, False),
    "in a chain from which some return": ([jump("some_return")], False, False),
    "behind a chain from which some return": ([jump("some_return"), NOTRACK], True, True),
    "behind a chain that some do not come back to": ([goto("some_return"), NOTRACK], False, False),
    "behind a chain that accepts": ([jump("accepts"), NOTRACK], False, False),
}


@pytest.mark.parametrize(("rules", "any_source", "own_network"), RULES.values(), ids=RULES)
def test_what_a_chain_exempts(rules, any_source, own_network):
    """All of it, or nothing is said."""
    table = filter_table(Hook.PREROUTING, -300, *rules, **CHAINS)
    lan = Incoming(Family.IPV4, "lan", 2)
    network = lan._replace(sources=((0x0A000100, 0x0A0001FF),))
    assert exempts_arriving([table], lan) is any_source
    assert exempts_arriving([table], network) is own_network


@pytest.mark.parametrize(("hook", "priority"), [(Hook.OUTPUT, -300), (Hook.PREROUTING, -200)])
def test_chains_that_may_come_too_late(hook, priority):
    """Before tracking, and for what is received."""
    table = filter_table(hook, priority, NOTRACK)
    assert not exempts_arriving([table], Incoming(Family.IPV4, "lan", 2))
