"""rules/zones.py: whether all that arrives at an interface gets a conntrack zone, or nothing."""

import pytest

from netfilter_exporter.rules.families import IPV6, Family, Hook
from netfilter_exporter.rules.incoming import Incoming
from netfilter_exporter.rules.match import Field, Opaque, named, ranged
from netfilter_exporter.rules.model import Rule
from netfilter_exporter.rules.zones import Zoned, zoned
from support.rules import filter_table, goto, jump, matching, verdict

LAN = named(Field.INPUT_INTERFACE, b"lan\0")
WAN = named(Field.INPUT_INTERFACE, b"wan\0")
SOME = Opaque("xt", b"6:limit", stable=False)
SOURCE = ranged(Field.SOURCE_IPV4, [(0x0A000001, 0x0A000001)])
ZONE = Rule(zone=True, zone_both_ways=True)
ONE_WAY = Rule(zone=True)
ACCEPT, RETURN = verdict("accept"), verdict("return")
RAW = -300


def at_lan(*rules, **chains):
    """Return how many flows from lan get a zone in a raw chain."""
    table = filter_table(Hook.PREROUTING, RAW, *rules, **chains)
    return zoned([table], Incoming(Family.IPV4, "lan", 2))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], Zoned.NONE),
        ([ZONE], Zoned.ALL),
        ([matching(ZONE, LAN)], Zoned.ALL),
        ([matching(ZONE, WAN)], Zoned.NONE),
        ([matching(ZONE, LAN, SOURCE)], Zoned.UNKNOWN),
        ([matching(ZONE, LAN, SOME)], Zoned.UNKNOWN),
        ([matching(ONE_WAY, LAN)], Zoned.UNKNOWN),
        ([matching(ONE_WAY, SOURCE), matching(ZONE, LAN)], Zoned.UNKNOWN),
        ([matching(ACCEPT, LAN), ZONE], Zoned.NONE),
        ([matching(ACCEPT, WAN), ZONE], Zoned.ALL),
        ([matching(ACCEPT, SOURCE), ZONE], Zoned.UNKNOWN),
        ([matching(Rule(notrack=True), SOURCE), ZONE], Zoned.UNKNOWN),
        ([Rule(notrack=True), ZONE], Zoned.NONE),
        ([Rule(maps=("m",)), ZONE], Zoned.UNKNOWN),
        ([Rule(families=IPV6, zone=True, zone_both_ways=True)], Zoned.NONE),
    ],
)
def test_what_a_chain_does(rules, expected):
    """What has other matches than interfaces is unknown, and so is what comes behind it."""
    found, rule = at_lan(*rules)
    assert found is expected
    assert (rule is not None) == (expected is Zoned.ALL)


def test_chains_that_are_jumped_to():
    """The rule is named where it stands; some packets that come there are not all."""
    found, rule = at_lan(matching(jump("zones"), LAN), zones=[Rule(), ZONE])
    assert found is Zoned.ALL
    assert (rule.chain, rule.position) == ("zones", 2)
    assert at_lan(matching(jump("zones"), SOURCE), zones=[ZONE])[0] is Zoned.UNKNOWN
    assert at_lan(matching(goto("zones"), WAN), zones=[ZONE])[0] is Zoned.NONE
    assert at_lan(goto("none"), ZONE, none=[Rule()])[0] is Zoned.NONE
    assert at_lan(jump("back"), ZONE, back=[matching(RETURN, SOURCE)])[0] is Zoned.UNKNOWN


def test_the_first_zone_counts():
    """Chains are met by their priority, whatever their order in the list."""
    late = filter_table(Hook.PREROUTING, -299, ZONE)
    early = filter_table(Hook.PREROUTING, RAW, matching(ONE_WAY, LAN))
    assert zoned([late, early], Incoming(Family.IPV4, "lan", 2))[0] is Zoned.UNKNOWN
    assert zoned([late, early], Incoming(Family.IPV4, "wan", 3))[0] is Zoned.ALL


@pytest.mark.parametrize(("hook", "priority"), [(Hook.PREROUTING, -150), (Hook.OUTPUT, RAW)])
def test_chains_that_received_packets_do_not_meet_before_tracking(hook, priority):
    """Behind tracking, and on the way out, no zone is set for what is received."""
    table = filter_table(hook, priority, ZONE)
    assert zoned([table], Incoming(Family.IPV4, "lan", 2))[0] is Zoned.NONE
