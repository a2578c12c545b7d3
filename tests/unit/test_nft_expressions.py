"""kernel/nft/expressions.py: what a rule does, out of the bytes that say it."""

import struct

import pytest
from hypothesis import given

from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.nft.rules import parse_rule
from netfilter_exporter.kernel.nft.verdicts import parse_verdict
from netfilter_exporter.kernel.rule_parts import interface_match
from netfilter_exporter.rules.families import BOTH, IPV4, IPV6
from netfilter_exporter.rules.model import Action, Rule, Verdict
from support import corpus, nft
from support.rules import plain


def parse(*expressions, **parts):
    """Return the rule that a message of these expressions makes."""
    message = memoryview(nft.rule(*expressions, **parts))
    return plain(parse_rule(message).make(message)[2])


PAYLOAD = nft.expression("payload", nft.number(1, 1), nft.number(2, 1))
COUNTER = nft.expression("counter", nft.number(1, 0))
SNAT, DNAT = 0, 1
NETMAP = 1 << 6


@pytest.mark.parametrize(
    ("expressions", "expected"),
    {
        "nothing": ([], Rule()),
        "masquerade": ([nft.masquerade()], Rule(action=Action.MASQUERADE)),
        "snat": ([nft.nat(SNAT, 2)], Rule(action=Action.SNAT, families=IPV4)),
        "dnat": ([nft.nat(DNAT, 10)], Rule(action=Action.DNAT, families=IPV6)),
        "dnat of both": ([nft.nat(DNAT, 1)], Rule(action=Action.DNAT)),
        "netmap": ([nft.nat(SNAT, 2, NETMAP)], Rule(action=Action.NETMAP, families=IPV4)),
        "redirect": ([nft.expression("redir")], Rule(action=Action.REDIRECT)),
        "counted": ([COUNTER, nft.masquerade()], Rule(action=Action.MASQUERADE, counted=True)),
        "accept": ([nft.immediate(nft.ACCEPT)], Rule(verdict=Verdict.ACCEPT)),
        "drop": ([nft.immediate(nft.DROP)], Rule(verdict=Verdict.DROP)),
        "return": ([nft.immediate(nft.RETURN)], Rule(verdict=Verdict.RETURN)),
        "continue": ([nft.immediate(nft.CONTINUE)], Rule()),
        "reject": ([nft.expression("reject")], Rule(verdict=Verdict.DROP)),
        "jump": ([nft.immediate(nft.JUMP, "x")], Rule(verdict=Verdict.JUMP, targets=("x",))),
        "goto": ([nft.immediate(nft.GOTO, "x")], Rule(verdict=Verdict.GOTO, targets=("x",))),
        "a match": ([PAYLOAD, nft.cmp(b"\x0a")], Rule(conditional=True)),
        "a map": ([PAYLOAD, nft.vmap("m")], Rule(conditional=True, maps=("m",))),
        "an unknown expression": ([nft.expression("new")], Rule(conditional=True)),
        "notrack": ([nft.expression("notrack")], Rule(notrack=True)),
        "a zone": ([nft.expression("ct", nft.number(2, 17), nft.number(4, 1))], Rule(zone=True)),
        "a constant zone": (
            [
                nft.expression("immediate", nft.number(1, 1), nft.nest(2, nft.pack(1, b"\5\0"))),
                nft.expression("ct", nft.number(2, 17), nft.number(4, 1)),
            ],
            Rule(zone=True, zone_both_ways=True),
        ),
        "a constant zone of one direction": (
            [
                nft.expression("immediate", nft.number(1, 1), nft.nest(2, nft.pack(1, b"\5\0"))),
                nft.expression("ct", nft.number(2, 17), nft.pack(3, b"\0"), nft.number(4, 1)),
            ],
            Rule(zone=True),
        ),
        "a mark": ([nft.expression("ct", nft.number(2, 1), nft.number(4, 1))], Rule()),
        "a state": (
            [nft.expression("ct", nft.number(2, 0), nft.number(1, 1))],
            Rule(conditional=True),
        ),
    }.values(),
)
def test_an_expression_does_what_it_does(expressions, expected):
    """Actions, verdicts and matches are told apart; what is unknown may match or not."""
    assert parse(*expressions) == expected


def test_a_value_for_a_register_is_no_verdict():
    """An immediate that loads an address is not taken for what ends the chain."""
    value = nft.expression("immediate", nft.number(1, 8), nft.nest(2, nft.pack(1, b"\0\0\0\0")))
    assert parse(value, nft.nat(SNAT, 2)).verdict is None


@pytest.mark.parametrize(
    ("target", "info", "expected"),
    [
        ("MASQUERADE", bytes(24), Rule(action=Action.MASQUERADE, extension=True)),
        ("NETMAP", bytes(24), Rule(action=Action.NETMAP, extension=True)),
        ("CT", struct.pack("=HH24x", 1, 0), Rule(notrack=True)),
        ("CT", struct.pack("=HH24x", 0, 7), Rule(zone=True, zone_both_ways=True)),
        ("CT", struct.pack("=HH24x", 1 << 2, 7), Rule(zone=True)),
        ("CT", struct.pack("=HH24x", 1 << 3, 7), Rule(zone=True)),
        ("CT", struct.pack("=HH24x", 1 << 4, 0), Rule(zone=True)),
        ("CT", struct.pack("=HH24x", 1, 7), Rule(notrack=True, zone=True, zone_both_ways=True)),
        ("CT", struct.pack("=HH24x", 0, 0), Rule()),
        ("CT", struct.pack("=HH8x16s", 0, 0, b"ftp"), Rule(helper="ftp")),
        ("CT", b"", Rule()),
        ("NOTRACK", b"", Rule(notrack=True)),
        ("REJECT", bytes(4), Rule(verdict=Verdict.DROP)),
        ("LOG", bytes(40), Rule()),
    ],
)
def test_an_xt_target_does_what_it_does_in_iptables(target, info, expected):
    """iptables-nft carries targets through nftables: they count as what they are."""
    assert parse(nft.xt_target(target, info)) == expected


def test_a_comment_is_no_match():
    """iptables -m comment always matches; what else -m names may not."""
    assert not parse(nft.xt_match("comment"), nft.masquerade()).conditional
    assert parse(nft.xt_match("addrtype"), nft.masquerade()).conditional


@pytest.mark.parametrize(
    ("statement", "conditional"),
    [
        (nft.expression("objref", nft.number(1, 1), nft.name(2, "c1")), False),  # a counter
        (nft.expression("objref", nft.number(1, 2), nft.name(2, "q1")), True),  # a quota
        (nft.expression("objref", nft.number(3, 1), nft.name(4, "m")), True),  # from a map
        (nft.expression("bitwise", nft.number(1, 1)), False),
        (nft.expression("limit"), True),
        (nft.expression("payload", nft.number(1, 1)), True),
    ],
)
def test_a_statement_that_no_packet_fails_is_no_match(statement, conditional):
    """counter name "c1" accept takes every packet; over a quota or a limit none gets."""
    assert parse(statement, nft.immediate(nft.ACCEPT)).conditional is conditional


@pytest.mark.parametrize(
    ("expressions", "interfaces", "loopback"),
    [
        ([nft.interface(nft.OIFNAME, "wan0")], ("wan0",), False),
        ([nft.interface(nft.IIFNAME, "lo")], ("lo",), True),
        ([nft.interface(nft.OIFNAME, "wan0", nft.NEQ)], (), True),
        ([nft.interface(nft.OIFNAME, "lo", nft.NEQ)], (), False),
        ([nft.interface(nft.OIFNAME, "wan*")], (), False),
        ([nft.interface(nft.OIFNAME, "l*")], (), True),
        ([nft.interface(nft.OIFNAME, "wan*", nft.NEQ)], (), True),
        ([nft.interface(nft.OIFNAME, "l*", nft.NEQ)], (), False),
        (
            [nft.interface(nft.IIFNAME, "lan0"), nft.interface(nft.OIFNAME, "wan0")],
            ("lan0", "wan0"),
            False,
        ),
        ([nft.load(nft.OIF), nft.cmp(struct.pack("=I", 3))], ("index 3",), False),
        ([nft.load(nft.IIF), nft.cmp(struct.pack("=I", 1))], ("index 1",), True),  # lo
        ([nft.load(nft.IIF), nft.cmp(struct.pack("=I", 1), nft.NEQ)], (), False),
        ([nft.load(nft.IIF), nft.cmp(struct.pack("=I", 3), nft.NEQ)], (), True),
        ([nft.load(nft.IIF), nft.cmp(b"\1")], (), True),
        ([nft.load(nft.OIFNAME), nft.vmap("m")], (), True),  # a set of names
    ],
)
def test_interfaces_that_a_rule_needs(expressions, interfaces, loopback):
    """Only a whole name that must match is needed; a wildcard or a negated name is not."""
    rule = parse(*expressions, nft.masquerade())
    assert (rule.conditional, rule.interfaces, rule.loopback) == (True, interfaces, loopback)


def test_a_comparison_of_what_another_expression_changed_is_just_a_match():
    """A value that a bitwise operation went over is no interface name any more."""
    bitwise = nft.expression("bitwise", nft.number(1, 1), nft.number(2, 1))
    rule = parse(nft.load(nft.OIFNAME), bitwise, nft.cmp(b"wan0\0"), nft.masquerade())
    assert (rule.conditional, rule.interfaces) == (True, ())


def test_a_comparison_of_another_register_is_just_a_match():
    """Nor is what stands in another register."""
    rule = parse(nft.load(nft.OIFNAME, 1), nft.cmp(b"wan0\0", register=2), nft.masquerade())
    assert rule.interfaces == ()


@pytest.mark.parametrize(
    ("expressions", "families"),
    [
        ([nft.nfproto(2)], IPV4),
        ([nft.nfproto(10)], IPV6),
        ([nft.load(nft.NFPROTO), nft.cmp(b"\x02", nft.NEQ)], IPV6),
        ([nft.load(nft.PROTOCOL), nft.cmp(b"\x86\xdd", nft.NEQ)], IPV4),
        ([nft.load(nft.PROTOCOL), nft.cmp(b"\x08\x06", nft.NEQ)], BOTH),
        ([nft.load(nft.PROTOCOL), nft.cmp(b"\x08\x00")], IPV4),
        ([nft.load(nft.PROTOCOL), nft.cmp(b"\x86\xdd")], IPV6),
        ([nft.load(nft.PROTOCOL), nft.cmp(b"\x08\x06")], BOTH),
        ([nft.nfproto(2), nft.nfproto(10)], frozenset()),
    ],
)
def test_a_family_match_limits_the_rule(expressions, families):
    """meta nfproto and meta protocol say which family a rule of an inet table is for."""
    rule = parse(*expressions, nft.masquerade(), family=nft.INET)
    assert (rule.conditional, rule.families) == (True, families)


def test_the_comment_of_an_unconditional_rule_is_kept():
    """What hides others is named by its comment; of the other rules nobody asks."""
    said = nft.comment("made by hand")
    assert parse(nft.immediate(nft.ACCEPT), userdata=said).comment == "made by hand"
    assert parse(PAYLOAD, nft.immediate(nft.ACCEPT), userdata=said).comment == ""


@given(corpus.mutated([b"wan0\0\0\0\0\0\0\0\0\0\0\0\0", b"l", b"lo\0", b"\0", b"", b"\xff\xfe\0"]))
def test_any_bytes_make_an_interface_match(content):
    """An exact name is never empty, and the opposite of a match on loopback excludes it."""
    interfaces, loopback = interface_match(content, positive=True)
    assert all(interfaces)
    assert interface_match(content, positive=False) == ((), not loopback)


@given(corpus.mutated(corpus.payloads("nft-getrule-unspec")))
def test_any_bytes_make_a_verdict_or_an_error(content):
    """No bytes make anything but a known verdict, none, or a ReadError."""
    try:
        verdict, chain = parse_verdict(memoryview(content))
    except ReadError:
        return
    assert verdict is None or verdict in Verdict
    assert isinstance(chain, str)
