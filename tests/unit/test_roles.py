"""rules/roles.py, translations.py: whom a translating rule is for follows from what it matches."""

import pytest

from netfilter_exporter.rules import roles, translations
from netfilter_exporter.rules.detail import NO_FORM, NatTarget, RuleDetail
from netfilter_exporter.rules.families import Family, Hook
from netfilter_exporter.rules.match import Field, InSet, Opaque, masked, ranged
from netfilter_exporter.rules.model import Action
from netfilter_exporter.rules.roles import Addresses

LOCAL, UNICAST = 2, 1
LO, WAN = (int.from_bytes(name.ljust(16, b"\0"), "big") for name in (b"lo", b"wan0"))
OWN, OTHER, LOOPBACK = 0xC6336401, 0x0A4D0002, 0x7F000001
POST, PRE = Hook.POSTROUTING, Hook.PREROUTING


def detail(*matches, to=None):
    """Return a rule with these matches and this target."""
    made = RuleDetail(NO_FORM, b"")
    made.__dict__.update(matches=matches, nat=to)
    return made


def is_(field, *numbers, negated=False):
    return ranged(field, [(number, number) for number in numbers], negated=negated)


def to(first, last=None, family=Family.IPV4, **rest):
    return NatTarget(family, (first, last or first), **rest)


OWN_ONLY = Addresses(Family.IPV4, (OWN,))
SOURCES = {
    "anything": ((), True),
    "an uplink": ((is_(Field.OUTPUT_INTERFACE, WAN),), True),
    "a subnet": ((ranged(Field.SOURCE_IPV4, [(0x0A000000, 0x0AFFFFFF)]),), True),
    "a mark": ((masked(Field.MARK, 0xFF0000, 0x40000),), True),
    "an owner": ((is_(Field.OUTPUT_INTERFACE, WAN), is_(Field.USER, 0)), False),
    "a group": ((is_(Field.GROUP, 1000),), False),
    "not an owner, which nobody is": ((is_(Field.USER, 0, negated=True),), True),
    "owners of a set": ((InSet((Field.USER,), "users"),), False),
    "addresses of a set": ((InSet((Field.SOURCE_IPV4,), "lan"),), True),
    "a local source": ((is_(Field.SOURCE_TYPE, LOCAL),), False),
    "not a local source": ((is_(Field.SOURCE_TYPE, LOCAL, negated=True),), True),
    "a local or unicast source": ((is_(Field.SOURCE_TYPE, UNICAST, LOCAL),), True),
    "a local destination": ((is_(Field.DESTINATION_TYPE, LOCAL),), True),
    "loopback": ((ranged(Field.SOURCE_IPV4, [(127 << 24, (128 << 24) - 1)]),), False),
    "out of lo": ((is_(Field.OUTPUT_INTERFACE, LO),), False),
    "not out of lo": ((is_(Field.OUTPUT_INTERFACE, LO, negated=True),), True),
    "one address": ((is_(Field.SOURCE_IPV4, OWN),), OWN_ONLY),
    "what is unknown": ((Opaque("bpf"),), True),
}


@pytest.mark.parametrize(("matches", "role"), SOURCES.values(), ids=SOURCES)
def test_source_translation(matches, role):
    """Only what no forwarded packet can match is for the host itself."""
    for action in Action.SNAT, Action.MASQUERADE:
        assert roles.role(POST, action, detail(*matches)) == role


TARGETS = {
    "a client": ((), to(OTHER), Addresses(Family.IPV4, (OTHER,))),
    "loopback": ((), to(LOOPBACK), False),
    "a range": ((), to(OTHER, OTHER + 1), True),
    "a map": ((), NatTarget(Family.IPV4, None, map="m"), True),
    "unknown": ((), NatTarget(known=False), True),
    "nothing": ((), None, True),
    "a port of the host": ((is_(Field.DESTINATION_TYPE, LOCAL),), NatTarget(ports=(80, 80)), False),
    "a port of an address": (
        (is_(Field.DESTINATION_IPV4, OWN),),
        NatTarget(ports=(80, 80)),
        OWN_ONLY,
    ),
    "a port": ((), NatTarget(ports=(80, 80)), True),
}


@pytest.mark.parametrize(("matches", "target", "role"), TARGETS.values(), ids=TARGETS)
def test_destination_translation(matches, target, role):
    """Where it sends packets decides: to the host itself, or on."""
    assert roles.role(PRE, Action.DNAT, detail(*matches, to=target)) == role


@pytest.mark.parametrize("hook", [Hook.INPUT, Hook.OUTPUT])
def test_other_hooks_are_for_the_host(hook):
    """No forwarded packet passes input or output, and redirect is for the host everywhere."""
    assert all(roles.role(hook, action, detail()) is False for action in Action)
    assert roles.role(PRE, Action.REDIRECT, detail()) is False


def test_the_addresses_of_the_host_decide():
    """A rule for one address is for forwarded traffic unless the host has that address."""
    facts = translations.TranslationFacts()
    facts.forwarded[Family.IPV4] = 1
    facts.forwarded_unless_own[OWN_ONLY] = 2
    facts.forwarded_unless_own[Addresses(Family.IPV4, (OWN, OTHER))] = 4
    for own, count in ((set(), 7), ({OWN}, 5), ({OWN, OTHER}, 1)):
        assert translations.forwarded(facts, Family.IPV4, {Family.IPV4: own}) == count
    assert translations.forwarded(facts, Family.IPV6, {Family.IPV4: {OWN}}) == 0


def scoped(*scopes, hook=POST):
    facts = translations.TranslationFacts()
    facts.scopes[Family.IPV4, hook] = None if None in scopes else list(scopes)
    return facts


LAN, VPN = ((ranged(Field.SOURCE_IPV4, [(base, base + 255)]),) for base in (0x0A4D0000, 0x0A080000))


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (scoped(LAN), scoped(VPN), False),
        (scoped(LAN, VPN), scoped(VPN), True),
        (scoped(LAN), scoped(()), True),
        (scoped(LAN), scoped((Opaque("bpf"),)), True),
        (scoped(None), scoped(VPN), True),
        (scoped(LAN), scoped(LAN, hook=PRE), False),
        (scoped(LAN), scoped(), False),
    ],
)
def test_rules_of_two_backends(one, other, overlap):
    """They disturb each other only where one packet may match both, at the same hook."""
    assert translations.overlap(one, other, Family.IPV4) is overlap
    assert translations.overlap(other, one, Family.IPV4) is overlap
