"""kernel/xtables/entry.py: entries of a shape share what they do, and nothing that they do not."""

import functools
import struct
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.parser_cache import parser_cache
from netfilter_exporter.kernel.xtables.entry import LAYOUTS, parse_entry
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.model import Rule, Verdict
from support import corpus, xt
from support.rules import plain

NAMES = {152: "a", 304: "b"}
COMMENT = ("comment", b"why".ljust(256, b"\0"))
MADE = [
    xt.Rule(152),
    xt.Rule(304, goto=True),
    xt.Rule(xt.DROP),
    xt.Rule(xt.ACCEPT, protocol=17, matches=[COMMENT]),
    xt.Rule(152, matches=[COMMENT]),
    xt.Rule(xt.RETURN, matches=[COMMENT, ("tcp", bytes(16))]),
    xt.Rule(bytes(24), xt="MASQUERADE", out="wan0"),
    xt.Rule(bytes(24), xt="SNAT", not_out="lo", matches=[("tcp", bytes(16))]),
    xt.Rule(struct.pack("=HH24x", 1, 0), xt="CT"),
]


def entry(rule, source=b"", family=Family.IPV4):
    """Return an entry from a source address; targets that are numbers are taken as they are."""
    content = bytearray(xt.entry(family, rule))
    content[: len(source)] = source
    return bytes(content)


def plausible(content, family):
    """Whether the entry's offsets are such as are checked before it is parsed."""
    layout = LAYOUTS[family]
    if len(content) < layout.size + 32:
        return False
    target, after = struct.unpack_from("=HH", content, layout.offsets)
    return layout.size <= target <= after - 32 and after == len(content)


def outcome(parse, content):
    try:
        return parse(memoryview(content))
    except ReadError as error:
        return str(error)


def alone(family):
    """Return a parser that has seen nothing before."""

    def parse(content):
        return parse_entry(content, LAYOUTS[family], NAMES).make(content)

    return parse


def remembering(family):
    return parser_cache(functools.partial(parse_entry, layout=LAYOUTS[family], names=NAMES))


@pytest.mark.parametrize("family", list(Family))
@given(data=st.data())
def test_recognising_an_entry_is_as_good_as_parsing_it(family, data):
    """Whatever came before, an entry has the result that it has alone."""
    made = [entry(rule, family=family) for rule in MADE]
    strange = data.draw(st.lists(corpus.mutated(made), max_size=8))
    recognise = remembering(family)
    for content in (*made, *strange, *made):
        if plausible(content, family):
            assert outcome(recognise, content) == outcome(alone(family), content)


@pytest.mark.parametrize("rule", MADE)
def test_entries_that_differ_in_one_bit_are_told_apart(rule):
    """Every single changed bit gives what it gives when the entry is parsed alone."""
    content = entry(rule)
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        if plausible(changed, Family.IPV4):
            recognise = remembering(Family.IPV4)
            recognise(memoryview(content))
            found = outcome(recognise, bytes(changed))
            assert found == outcome(alone(Family.IPV4), bytes(changed)), bit


def test_where_rules_lead_is_no_part_of_their_shape():
    """A thousand jumps from a thousand addresses are one shape, each with its own chain."""
    names = {152 * number: f"chain{number}" for number in range(1, 1000)}
    alone = Mock(wraps=functools.partial(parse_entry, layout=LAYOUTS[Family.IPV4], names=names))
    parse = parser_cache(alone)
    for start, name in names.items():
        content = entry(xt.Rule(start, protocol=6), source=struct.pack(">I", start))
        expected = Rule(conditional=True, verdict=Verdict.JUMP, targets=(name,))
        rule, values = parse(memoryview(content))
        assert plain(rule) == expected
        assert values[:4] == struct.pack(">I", start)
    assert alone.call_count == 1


def test_a_verdict_is_told_from_a_chain():
    """The sign of the number decides: below zero it is a verdict."""
    parse = remembering(Family.IPV4)
    made = [xt.Rule(152), xt.Rule(xt.DROP), xt.Rule(304), xt.Rule(xt.ACCEPT), xt.Rule(456)]
    found = [parse(memoryview(entry(rule)))[0] for rule in made]
    assert [(rule.verdict, rule.targets) for rule in found] == [
        (Verdict.JUMP, ("a",)),
        (Verdict.DROP, ()),
        (Verdict.JUMP, ("b",)),
        (Verdict.ACCEPT, ()),
        (None, ()),
    ]
