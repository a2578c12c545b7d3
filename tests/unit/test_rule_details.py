"""rules/detail.py as both backends fill it: matches, targets and queues of single rules."""

import struct

import pytest

from netfilter_exporter.kernel.nft.rules import parse_rule
from netfilter_exporter.kernel.parser_cache import parser_cache
from netfilter_exporter.kernel.rule_parts import opaque_bytes
from netfilter_exporter.kernel.xtables.entry import LAYOUTS, parse_entry
from netfilter_exporter.rules.detail import NatTarget, Queue, RuleDetail
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.match import (
    Bits,
    Field,
    InIpset,
    InSet,
    Opaque,
    interface_names,
    ranged,
)
from support import nft, xt
from support.rules import covers_all

NETWORK, TRANSPORT = 1, 2
GTE = 5


def nft_detail(*expressions, **parts):
    """Return the detail of an nftables rule."""
    message = memoryview(nft.rule(*expressions, **parts))
    _, _, rule, values, _ = parse_rule(message).make(message)
    return RuleDetail(rule.form, values)


def xt_detail(rule, family=Family.IPV4):
    """Return the detail of an entry of a legacy table."""
    entry = memoryview(xt.entry(family, rule))
    found, values = parse_entry(entry, LAYOUTS[family], {}).make(entry)
    return RuleDetail(found.form, values)


def payload(base, offset, size, register=1):
    numbers = ((1, register), (2, base), (3, offset), (4, size))
    return nft.expression("payload", *(nft.number(*pair) for pair in numbers))


def bitwise(mask, xor=None):
    parts = nft.number(1, 1), nft.number(2, 1), nft.number(3, len(mask))
    values = (nft.nest(t, nft.pack(1, v)) for t, v in ((4, mask), (5, xor or bytes(len(mask)))))
    return nft.expression("bitwise", *parts, *values)


def immediate(register, value):
    return nft.expression("immediate", nft.number(1, register), nft.nest(2, nft.pack(1, value)))


def lookup(name, *more):
    return nft.expression("lookup", nft.name(1, name), nft.number(2, 1), *more)


SADDR, DADDR = payload(NETWORK, 12, 4), payload(NETWORK, 16, 4)
TEN = b"\x0a\0\0\0"


@pytest.mark.parametrize(
    ("expressions", "expected"),
    {
        "address": ([SADDR, nft.cmp(TEN)], ranged(Field.SOURCE_IPV4, [(10 << 24, 10 << 24)])),
        "prefix of bytes": (
            [payload(NETWORK, 16, 1), nft.cmp(b"\x0a")],
            ranged(Field.DESTINATION_IPV4, [(10 << 24, (11 << 24) - 1)]),
        ),
        "prefix of bits": (
            [SADDR, bitwise(b"\xff\xff\x80\0"), nft.cmp(b"\x0a\x01\x80\0", nft.NEQ)],
            ranged(Field.SOURCE_IPV4, [(0x0A018000, 0x0A01FFFF)], negated=True),
        ),
        "port": (
            [payload(TRANSPORT, 2, 2), nft.cmp(b"\0\x50", GTE)],
            ranged(Field.DESTINATION_PORT, [(80, 65535)]),
        ),
        "mark": (
            [nft.load(3), bitwise(struct.pack("=I", 0x30)), nft.cmp(struct.pack("=I", 0x10))],
            Bits(Field.MARK, 0x30, 0x10),
        ),
        "user": ([nft.load(10), nft.cmp(struct.pack("=I", 7))], ranged(Field.USER, [(7, 7)])),
        "set": ([SADDR, lookup("s")], InSet((Field.SOURCE_IPV4,), "s")),
        "not in a set": (
            [SADDR, lookup("s", nft.number(5, 1))],
            InSet((Field.SOURCE_IPV4,), "s", negated=True),
        ),
        "concatenation": (
            [DADDR, nft.load(16, 9), payload(TRANSPORT, 2, 2, 10), lookup("c")],
            InSet((Field.DESTINATION_IPV4, Field.PROTOCOL, Field.DESTINATION_PORT), "c"),
        ),
        "what is local": (
            [
                nft.expression("fib", nft.number(1, 1), nft.number(2, 3), nft.number(3, 2)),
                nft.cmp(struct.pack("=I", 2)),
            ],
            ranged(Field.DESTINATION_TYPE, [(2, 2)]),
        ),
        "limit": ([nft.expression("limit")], Opaque("limit")),
    }.values(),
)
def test_a_match_of_nftables(expressions, expected):
    """Each is decoded into its field and numbers."""
    assert nft_detail(*expressions, nft.masquerade()).matches == (expected,)


def test_joined_loads_are_two_matches():
    """nft compares neighboring fields at once."""
    both = payload(NETWORK, 12, 8), nft.cmp(TEN + b"\x0a\0\0\1")
    assert nft_detail(*both).matches == (
        ranged(Field.SOURCE_IPV4, [(10 << 24, 10 << 24)]),
        ranged(Field.DESTINATION_IPV4, [((10 << 24) + 1, (10 << 24) + 1)]),
    )


def test_addresses_need_their_family():
    """The same bytes of an inet table are an address only behind ``meta nfproto``."""
    found = nft_detail(SADDR, nft.cmp(TEN), family=nft.INET).matches
    assert [type(match) for match in found] == [Opaque]
    found = nft_detail(nft.nfproto(2), SADDR, nft.cmp(TEN), family=nft.INET).matches
    assert [match.field for match in found] == [Field.FAMILY, Field.SOURCE_IPV4]


def test_a_load_that_nothing_compares_is_a_condition():
    """A packet without it does not match: it must not look unconditional."""
    found = nft_detail(payload(NETWORK, 12, 4), nft.masquerade()).matches
    assert found == (Opaque("payload"),)


def test_a_type_of_icmp_is_no_port():
    """One byte of the transport header is not compared with ports."""
    (found,) = nft_detail(payload(TRANSPORT, 0, 1), nft.cmp(b"\x08")).matches
    assert isinstance(found, Opaque)
    assert found.stable


def test_interfaces_are_read_twice():
    """As what the rule needs, and as a match."""
    for content in (b"wan0".ljust(16, b"\0"), b"wan0\0"):  # of nft, and of iptables-nft
        (found,) = nft_detail(nft.load(nft.OIFNAME), nft.cmp(content)).matches
        assert (found.field, interface_names(found)) == (Field.OUTPUT_INTERFACE, ("wan0",))
    (found,) = xt_detail(xt.Rule(xt.ACCEPT, out="wan0")).matches[:1]
    assert interface_names(found) == ("wan0",)


@pytest.mark.parametrize(
    ("expressions", "expected"),
    [
        (
            [immediate(1, TEN), nft.nat(1, 2)],
            NatTarget(Family.IPV4, (10 << 24, 10 << 24)),
        ),
        (
            [
                immediate(1, TEN),
                immediate(2, b"\x1f\x90"),
                nft.expression(
                    "nat", *(nft.number(t, v) for t, v in ((1, 1), (2, 2), (3, 1), (5, 2)))
                ),
            ],
            NatTarget(Family.IPV4, (10 << 24, 10 << 24), (8080, 8080)),
        ),
        (
            [SADDR, lookup("m", nft.number(3, 1)), nft.nat(1, 2)],
            NatTarget(Family.IPV4, map="m", known=False),
        ),
        ([nft.nat(1, 2)], NatTarget(Family.IPV4, known=False)),
        ([nft.masquerade()], None),
    ],
)
def test_the_target_of_nftables(expressions, expected):
    """Immediates, a map, or something that is not decoded."""
    assert nft_detail(*expressions).nat == expected


def test_queues():
    """In both backends, with the bypass that lets packets go on where nobody listens."""
    numbers = nft.pack(1, b"\0\3"), nft.pack(2, b"\0\2"), nft.pack(3, b"\0\1")
    assert nft_detail(nft.expression("queue", *numbers)).form.queue == Queue(3, 4, bypass=True)
    info = struct.pack("=4H", 7, 1, 0, 0)
    expected = Queue(7, 7, bypass=False)
    assert nft_detail(nft.xt_target("NFQUEUE", info)).form.queue == expected
    assert xt_detail(xt.Rule(info, xt="NFQUEUE")).form.queue == expected


def test_bytes_that_are_just_compared():
    """The same bytes are the same match; where one value ends and the next begins counts."""
    load = payload(TRANSPORT, 13, 1)
    same, again = (nft_detail(load, nft.cmp(b"\2")).matches for _ in range(2))
    assert covers_all(same, again)
    assert not covers_all(same, nft_detail(load, nft.cmp(b"\2", nft.NEQ)).matches)
    assert opaque_bytes("x", b"", b"a", b"ba") != opaque_bytes("x", b"", b"ab", b"a")


def test_what_a_rule_writes():
    """A later rule sees another mark; behind what is unknown, anything may be another."""
    written = nft.expression("meta", nft.number(2, 3), nft.number(3, 1))
    assert nft_detail(written).form.writes == {Field.MARK}
    assert nft_detail(nft.xt_target("MARK")).form.writes == {Field.MARK}
    assert nft_detail(nft.xt_target("TOMORROW")).form.writes is None
    assert nft_detail(nft.expression("dynset")).form.writes is None
    assert nft_detail(SADDR, nft.cmp(TEN), nft.immediate(nft.ACCEPT)).form.writes == frozenset()


TCP = ("tcp", struct.pack("=4H4B", 0, 65535, 80, 90, 0, 0, 0, 0))
MULTIPORT = struct.pack("=2B15H15BB", 1, 3, 80, 100, 200, *[0] * 12, 0, 1, *[0] * 13, 0)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (TCP, ranged(Field.DESTINATION_PORT, [(80, 90)])),
        (
            ("udp", struct.pack("=4HB", 5, 5, 0, 65535, 1)),
            ranged(Field.SOURCE_PORT, [(5, 5)], negated=True),
        ),
        (("state", struct.pack("=I", 8)), ranged(Field.CT_STATE, [(8, 8)])),
        (("comment", b"why".ljust(256, b"\0")), None),
        (("limit", bytes(40)), Opaque("xt limit")),
    ],
)
@pytest.mark.parametrize(
    "decode",
    [
        lambda name, info: nft_detail(nft.xt_match(name, info)),
        lambda name, info: xt_detail(xt.Rule(xt.ACCEPT, matches=[(name, info)])),
    ],
    ids=["nftables", "legacy"],
)
def test_a_match_of_xtables(match, expected, decode):
    """In both backends."""
    found = decode(*match).matches
    assert found == (() if expected is None else (expected,))


@pytest.mark.parametrize(
    ("name", "revision", "info", "expected"),
    [
        ("multiport", 1, MULTIPORT, (ranged(Field.DESTINATION_PORT, [(80, 80), (100, 200)]),)),
        ("mark", 1, struct.pack("=2IB", 0x10, 0x30, 1), (Bits(Field.MARK, 0x30, 0x10, True),)),
        (
            "addrtype",
            1,
            struct.pack("=HHI", 0, 1 << 2, 2),
            (ranged(Field.DESTINATION_TYPE, [(2, 2)], negated=True),),
        ),
        ("owner", 1, struct.pack("=4I2B", 5, 7, 0, 0, 1, 0), (ranged(Field.USER, [(5, 7)]),)),
        (
            "conntrack",
            3,
            bytes(146) + struct.pack("=4H", 1, 1, 8, 0) + bytes(10),
            (ranged(Field.CT_STATE, [(8, 8)], negated=True),),
        ),
        (
            "conntrack",
            3,
            bytes(146) + struct.pack("=4H", 1, 0, 0x104, 0) + bytes(10),
            (ranged(Field.CT_STATE, [(4, 4), (64, 64)]),),  # RELATED,UNTRACKED
        ),
        ("set", 3, struct.pack("=H2B", 3, 1, 3) + bytes(44), (InIpset(3, 1, 2, True),)),
        (
            "iprange",
            1,
            TEN.ljust(16, b"\0") + b"\x0a\0\0\x09".ljust(48, b"\0") + b"\x01\0\0\0",
            (ranged(Field.SOURCE_IPV4, [(10 << 24, (10 << 24) + 9)]),),
        ),
    ],
)
def test_a_match_by_its_revision(name, revision, info, expected):
    """Each struct is that of one revision."""
    parts = nft.name(1, name), nft.number(2, revision), nft.pack(3, info)
    assert nft_detail(nft.expression("match", *parts)).matches == expected


def test_what_an_entry_compares_itself():
    """Addresses with masks, interfaces and the protocol stand in the entry."""
    entry = bytearray(xt.entry(Family.IPV4, xt.Rule(xt.ACCEPT, out="wan+", protocol=6)))
    entry[0:4], entry[8:12] = TEN, b"\xff\0\0\0"
    entry[83] |= 0x08  # IPT_INV_SRCIP
    found, values = parse_entry(memoryview(entry), LAYOUTS[Family.IPV4], {}).make(memoryview(entry))
    source, out, protocol = RuleDetail(found.form, values).matches
    assert source == ranged(Field.SOURCE_IPV4, [(10 << 24, (11 << 24) - 1)], negated=True)
    assert (out.field, interface_names(out)) == (Field.OUTPUT_INTERFACE, ())
    assert protocol == ranged(Field.PROTOCOL, [(6, 6)])


@pytest.mark.parametrize("protocol", [0, 6])
def test_addresses_of_an_entry(protocol):
    """Whether or not it compares anything else."""
    entry = bytearray(xt.entry(Family.IPV4, xt.Rule(xt.ACCEPT, protocol=protocol)))
    entry[0:16] = TEN + b"\x0a\0\0\x01" + b"\xff\0\0\0" + b"\xff" * 4
    found, values = parse_entry(memoryview(entry), LAYOUTS[Family.IPV4], {}).make(memoryview(entry))
    assert RuleDetail(found.form, values).matches[:2] == (
        ranged(Field.SOURCE_IPV4, [(10 << 24, (11 << 24) - 1)]),
        ranged(Field.DESTINATION_IPV4, [((10 << 24) + 1,) * 2]),
    )


@pytest.mark.parametrize("backend", ["nftables", "legacy"])
def test_the_target_of_xtables(backend):
    """A range of addresses and ports, as revision 0 of IPv4 has it."""
    info = struct.pack("=II4s4s2s2s", 1, 3, TEN, b"\x0a\0\0\x09", b"\x03\xe8", b"\x07\xd0")
    info = info.ljust(24, b"\0")
    found = (
        nft_detail(nft.xt_target("SNAT", info))
        if backend == "nftables"
        else xt_detail(xt.Rule(info, xt="SNAT"))
    )
    assert found.nat == NatTarget(Family.IPV4, (10 << 24, (10 << 24) + 9), (1000, 2000))


def test_rules_of_a_form_have_their_own_values():
    """A thousand addresses are one form, and each rule knows its own."""
    parse = parser_cache(parse_rule)
    forms = set()
    for number in range(1000):
        address = struct.pack(">I", (10 << 24) + number)
        message = nft.rule(SADDR, nft.cmp(address), immediate(1, address), nft.nat(1, 2))
        _, _, rule, values, _ = parse(memoryview(message))
        detail = RuleDetail(rule.form, values)
        pair = ((10 << 24) + number,) * 2
        assert detail.matches == (ranged(Field.SOURCE_IPV4, [pair]),)
        assert detail.nat == NatTarget(Family.IPV4, pair)
        forms.add(id(rule.form))
    assert len(forms) == 1
