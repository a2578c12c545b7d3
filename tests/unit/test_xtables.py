"""kernel/xtables/tables.py: the rules of a legacy table, out of one block of bytes."""

import contextlib
import errno
import mmap
import os
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.errors import Malformed, NoData, ReadError, TimedOut, from_oserror
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.xtables import tables as xtables
from netfilter_exporter.kernel.xtables.entry import LAYOUTS
from netfilter_exporter.kernel.xtables.tables import (
    IPT_SO_GET_ENTRIES,
    IPT_SO_GET_INFO,
    parse_info,
    parse_table,
    read_entries,
    recogniser,
)
from netfilter_exporter.rules.families import Family, Hook
from netfilter_exporter.rules.model import Action, Rule, Verdict
from support import corpus, recording, xt
from support.rules import plain

RECORDED = [
    recording.load(name).exchanges
    for name in ("4.9/nat-legacy", "4.9/nat-unreachable-legacy", "6.1/nat-legacy", "7.2/notrack")
]
ENTRIES = [exchanges["ipt-nat-get_entries"].datagrams[0][40:] for exchanges in RECORDED]
INFOS = [parse_info(exchanges["ipt-nat-get_info"].datagrams[0]) for exchanges in RECORDED]
MASQUERADE = xt.Rule(bytes(24), xt="MASQUERADE")
both_families = pytest.mark.parametrize("family", list(Family))


def parse(family, name="nat", **chains):
    """Return the table that is parsed from a made one."""
    info, blob = xt.table(family, name, **chains)
    return parse_table(memoryview(blob), info, family, name)


def rules(family, *made, **chains):
    """Return the parsed rules of POSTROUTING."""
    found = parse(family, base={4: made}, **chains).rules("POSTROUTING")
    return [plain(rule) for rule in found]


# -- chains --------------------------------------------------------------------------------------


@both_families
def test_chains_end_where_they_end(family):
    """Policies and the returns that close user chains are no rules; empty chains have none."""
    table = parse(
        family,
        base={0: [xt.Rule("a"), xt.Rule("b", goto=True)], 4: [MASQUERADE]},
        user={"a": [MASQUERADE, xt.Rule(xt.RETURN)], "empty": [], "b": [MASQUERADE]},
    )
    assert {name: len(chain.rules) for name, chain in table.chains.items()} == {
        "PREROUTING": 2,
        "INPUT": 0,
        "OUTPUT": 0,
        "POSTROUTING": 1,
        "a": 2,
        "empty": 0,
        "b": 1,
    }
    assert [(r.verdict, r.targets) for r in table.chains["PREROUTING"].rules] == [
        (Verdict.JUMP, ("a",)),
        (Verdict.GOTO, ("b",)),
    ]


@both_families
def test_a_base_chain_has_the_hook_and_priority_of_its_table(family):
    """nat chains translate; raw chains come before connection tracking."""
    nat, raw = parse(family), parse(family, "raw")
    assert {(c.hook, c.type, c.priority) for c in nat.chains.values()} == {
        (hook, "nat", -100) for hook in (Hook.PREROUTING, Hook.INPUT, Hook.OUTPUT, Hook.POSTROUTING)
    }
    assert raw.chains["PREROUTING"].priority == -300


@both_families
def test_a_policy_is_read(family):
    """The forward policy is that of the entry behind the chain's last rule."""
    assert parse(family, "filter", policy=xt.DROP).chains["FORWARD"].drops
    assert not parse(family, "filter").chains["FORWARD"].drops


# -- rules ---------------------------------------------------------------------------------------


@both_families
@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (xt.Rule(), Rule()),
        (xt.Rule(xt.ACCEPT), Rule(verdict=Verdict.ACCEPT)),
        (xt.Rule(xt.DROP), Rule(verdict=Verdict.DROP)),
        (xt.Rule(xt.RETURN), Rule(verdict=Verdict.RETURN)),
        (xt.Rule(xt.ACCEPT, protocol=17), Rule(verdict=Verdict.ACCEPT, conditional=True)),
        (MASQUERADE, Rule(action=Action.MASQUERADE, extension=True, counted=True)),
        (xt.Rule(bytes(24), xt="SNAT"), Rule(action=Action.SNAT, extension=True, counted=True)),
        (xt.Rule(bytes(24), xt="LOG"), Rule()),
        (xt.Rule(struct.pack("=HH24x", 1, 0), xt="CT"), Rule(notrack=True)),
        (
            xt.Rule(xt.ACCEPT, matches=[("comment", b"why".ljust(256, b"\0"))]),
            Rule(verdict=Verdict.ACCEPT, comment="why"),
        ),
        (
            xt.Rule(xt.ACCEPT, matches=[("comment", bytes(256)), ("addrtype", bytes(8))]),
            Rule(verdict=Verdict.ACCEPT, conditional=True),
        ),
    ],
)
def test_a_rule_does_what_it_does(family, made, expected):
    """Actions, verdicts and matches are told apart in both families; a comment is no match."""
    assert rules(family, made) == [expected]


@both_families
@pytest.mark.parametrize(
    ("made", "interfaces", "loopback"),
    [
        (xt.Rule(out="wan0"), ("wan0",), False),
        (xt.Rule(in_="lan0", out="wan0"), ("lan0", "wan0"), False),
        (xt.Rule(in_="lo"), ("lo",), True),
        (xt.Rule(out="wan+"), (), False),
        (xt.Rule(out="l+"), (), True),
        (xt.Rule(not_out="docker0"), (), True),
        (xt.Rule(not_out="lo"), (), False),
        (xt.Rule(not_out="l+"), (), False),
    ],
)
def test_interfaces_that_a_rule_needs(family, made, interfaces, loopback):
    """Only a whole name that must match is needed; a wildcard or a negated name is not."""
    (rule,) = rules(family, made._replace(target=bytes(24), xt="MASQUERADE"))
    assert (rule.conditional, rule.interfaces, rule.loopback) == (True, interfaces, loopback)


# -- bytes ---------------------------------------------------------------------------------------


@given(corpus.mutated(ENTRIES), st.sampled_from(INFOS))
def test_any_bytes_make_a_table_or_an_error(content, info):
    """No bytes make anything but a table, or a ReadError."""
    for family in Family:
        try:
            table = parse_table(memoryview(content), info, family, "nat")
        except ReadError:
            continue
        assert {chain.hook for chain in table.chains.values()} - {None} == {
            hook for hook in Hook if info.valid_hooks >> hook & 1
        }


OFFSETS = st.tuples(*[st.integers(0, 12).map(lambda n: 152 * n)] * 5)


@given(st.lists(st.sampled_from(["", "ERROR", "MASQUERADE"]), max_size=9), OFFSETS, OFFSETS)
def test_any_entries_make_a_table_or_an_error(targets, starts, ends):
    """Entries in any order, entered and ended anywhere, make a table or a ReadError."""
    blob = b"".join(
        xt.entry(Family.IPV4, xt.Rule(bytes(8), xt=target, in_="eth0")) for target in targets
    )
    info = INFOS[0]._replace(hook_entry=starts, underflow=ends)
    with contextlib.suppress(ReadError):
        parse_table(memoryview(blob), info, Family.IPV4, "nat")


def test_a_user_chain_without_its_return_is_malformed():
    """A chain that has nothing in it, not even its end, is none."""
    entries = [xt.Rule(xt.ACCEPT), *[xt.Rule(bytes(32), xt="ERROR")] * 2]
    blob = b"".join(xt.entry(Family.IPV4, entry) for entry in entries)
    info = INFOS[0]._replace(valid_hooks=1, hook_entry=(0,) * 5, underflow=(0,) * 5)
    with pytest.raises(Malformed):
        parse_table(memoryview(blob), info, Family.IPV4, "nat")


@given(corpus.mutated([bytes(84), struct.pack("=32sI5I5III", b"nat", 0x1B, *range(10), 5, 784)]))
def test_any_bytes_make_numbers_or_an_error(content):
    """Only a structure of the right size has numbers."""
    if len(content) == 84:
        assert parse_info(content).size < 1 << 32
    else:
        with pytest.raises(Malformed, match=r"bytes instead of 84"):
            parse_info(content)


@pytest.mark.parametrize("numbers", ["hook_entry", "underflow"])
def test_numbers_of_another_table_are_malformed(numbers):
    """Entries that do not begin and end where the kernel said are never taken for chains."""
    info, blob = xt.table(Family.IPV4, base={4: [MASQUERADE]})
    wrong = info._replace(**{numbers: tuple(n + 8 for n in getattr(info, numbers))})
    with pytest.raises(Malformed, match="does not begin or end"):
        parse_table(memoryview(blob), wrong, Family.IPV4, "nat")


def test_a_table_of_one_chain_and_no_end_is_malformed():
    """Every table ends with an entry that says so."""
    info = parse_info(bytes(84))._replace(valid_hooks=1, underflow=(8,) * 5)
    with pytest.raises(Malformed):
        parse_table(memoryview(b""), info, Family.IPV4, "nat")


# -- the questions -------------------------------------------------------------------------------


class Socket:
    """Hands out tables one after the other, as a kernel whose table is replaced."""

    def __init__(self, *tables):
        self.tables = list(tables)
        self.asked = []

    def get(self, option, request, size):
        self.asked.append(option)
        info, blob = self.tables[0]
        if option == IPT_SO_GET_INFO:
            if len(self.tables) > 1:
                self.tables.pop(0)
        elif request[32:36] != struct.pack("=I", info.size):
            raise from_oserror(OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "getsockopt")
        assert option == IPT_SO_GET_INFO or size == 40 + info.size
        return memoryview(xt.answer("nat", info, blob, request, option))


def test_a_table_that_is_replaced_meanwhile_is_asked_for_again():
    """A size that is no longer right is asked for again: EAGAIN is no failure."""
    one, other = xt.table(Family.IPV4), xt.table(Family.IPV4, base={4: [MASQUERADE]})
    assert read_entries(Socket(one, other), "nat") == other


def test_a_table_that_is_always_replaced_is_given_up():
    """After four attempts it is an error that says so."""
    sizes = [xt.table(Family.IPV4, base={4: [MASQUERADE] * n}) for n in range(9)]
    socket = Socket(*sizes)
    with pytest.raises(ReadError, match="legacy nat: replaced during each of 4 readings") as caught:
        read_entries(socket, "nat")
    assert not isinstance(caught.value, (NoData, TimedOut))
    assert socket.asked == [IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES] * 4


@both_families
def test_a_table_is_recognised_by_all_but_its_counters(family):
    """Every other bit of its entries makes it another one."""
    jump = xt.Rule("user", matches=[("comment", b"why".ljust(8, b"\0"))])
    _, blob = xt.table(family, base={4: [jump, MASQUERADE]}, user={"user": [xt.Rule(xt.DROP)]})
    recognises = recogniser(memoryview(blob), family)
    layout, start, counters = LAYOUTS[family], 0, set()
    while start < len(blob):
        counters |= set(range(start + layout.size - 16, start + layout.size))
        start += int.from_bytes(blob[start + layout.offsets + 2 :][:2], sys.byteorder)
    for at in range(len(blob)):
        other = bytearray(blob)
        other[at] ^= 1 << at % 8
        assert recognises(memoryview(other)) == (at in counters)


@both_families
def test_names_of_tables(family, tmp_path):
    """Tables are those that the kernel lists; without ip_tables there are none."""
    paths = Paths(str(tmp_path))
    assert xtables.read_names(paths, family) == frozenset()
    (tmp_path / "net").mkdir()
    (tmp_path / xtables.NAMES[family]).write_bytes(b"raw\nnat\n")
    assert xtables.read_names(paths, family) == {"nat", "raw"}


@both_families
def test_a_table_whose_module_is_being_unloaded_is_none(family, tmp_path):
    """It is listed until the module is gone; asking for it would load the module again."""
    paths = Paths(str(tmp_path), str(tmp_path))
    (tmp_path / "net").mkdir()
    (tmp_path / xtables.NAMES[family]).write_bytes(b"raw\nnat\n")
    state = tmp_path / f"module/{xtables.MODULES[family]}nat/initstate"
    state.parent.mkdir(parents=True)
    for text, expected in ((b"live\n", {"nat", "raw"}), (b"going\n", {"raw"})):
        state.write_bytes(text)
        assert xtables.read_names(paths, family) == expected


def test_the_memory_of_parsed_entries_is_given_back(monkeypatch):
    """Of a large table as it came from the kernel; what was parsed is the same."""
    monkeypatch.setattr(xtables, "_RELEASED", mmap.PAGESIZE)
    info, blob = xt.table(Family.IPV4, "nat", base={4: [MASQUERADE] * 200})
    mapped = mmap.mmap(-1, len(blob), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    mapped[:] = bytes(blob)
    content = memoryview(mapped)
    assert parse_table(content, info, Family.IPV4, "nat") == parse_table(
        memoryview(bytes(blob)), info, Family.IPV4, "nat"
    )
    pages = len(blob) // mmap.PAGESIZE - 1
    assert pages > 4
    assert not any(content[: pages * mmap.PAGESIZE])
