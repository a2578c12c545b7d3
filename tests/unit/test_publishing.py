"""rules/publishing.py: what a rule publishes, and the packets of its connections."""

import pytest

from netfilter_exporter.rules.detail import NatTarget, RuleDetail
from netfilter_exporter.rules.families import BOTH, TCP, UDP, Family, Hook
from netfilter_exporter.rules.match import Field, named, ranged
from netfilter_exporter.rules.model import Action, Rule
from netfilter_exporter.rules.publishing import Published, published
from support.rules import matching

V4 = Family.IPV4
HOST = (0x0A4D0002, 0x0A4D0002)
RECEIVED = frozenset({Hook.PREROUTING})
TCP_80 = (ranged(Field.PROTOCOL, [(TCP, TCP)]), ranged(Field.DESTINATION_PORT, [(80, 80)]))
ANY = Published(frozenset({V4}), (HOST,), (TCP,), ((80, 80),))


def of(*matches, action=Action.DNAT, to=None, at=RECEIVED):
    """Return what a rule with these matches publishes."""
    rule = matching(Rule(action=action), *matches, to=to or NatTarget(V4, HOST))
    return published(BOTH, action, RuleDetail(rule.form, ()), at)


CASES = {
    "a port": (TCP_80, {}, ANY),
    "another port there": (
        TCP_80,
        {"to": NatTarget(V4, HOST, (81, 82))},
        ANY._replace(ports=((81, 82),)),
    ),
    "all ports": (TCP_80[:1], {}, ANY._replace(ports=())),
    "both protocols": (
        (ranged(Field.PROTOCOL, [(TCP, TCP), (UDP, UDP)]),),
        {},
        ANY._replace(protocols=(TCP, UDP), ports=()),
    ),
    "any protocol": ((), {}, None),
    "another protocol": ((ranged(Field.PROTOCOL, [(1, 6)]),), {}, None),
    "no protocol": ((TCP_80[0], ranged(Field.PROTOCOL, [(UDP, UDP)])), {}, None),
    "an interface, not a mark": (
        (*TCP_80, named(Field.INPUT_INTERFACE, b"w\0"), ranged(Field.MARK, [(7, 7)])),
        {},
        ANY._replace(
            matched=((Field.INPUT_INTERFACE, named(Field.INPUT_INTERFACE, b"w\0").intervals),)
        ),
    ),
    "what this host sends, too": (TCP_80, {"at": frozenset({Hook.PREROUTING, Hook.OUTPUT})}, None),
    "a map": (TCP_80, {"to": NatTarget(V4, HOST, map="m")}, None),
    "the port alone": (TCP_80, {"to": NatTarget(ports=(8, 8))}, None),
    "this host": (TCP_80, {"action": Action.REDIRECT}, None),
}


@pytest.mark.parametrize(("matches", "options", "expected"), CASES.values(), ids=CASES)
def test_what_a_rule_publishes(matches, options, expected):
    """One address, or some, of TCP and UDP alone, and only for what this host receives."""
    assert of(*matches, **options) == expected


def test_the_packets_of_a_connection():
    """The first comes from wherever the rule says; a reply may come by any interface."""
    wan = named(Field.INPUT_INTERFACE, b"w\0")
    first, later, reply = of(*TCP_80, wan).packets(V4).values()
    assert dict(first.known) == {
        Field.INPUT_INTERFACE: wan.intervals,
        Field.DESTINATION_IPV4: (HOST,),
        Field.DESTINATION_PORT: ((80, 80),),
    }
    assert later == first._replace(established=True)
    assert dict(reply.known) == {
        Field.SOURCE_IPV4: (HOST,),
        Field.SOURCE_PORT: ((80, 80),),
    }
    assert reply.established
