"""kernel/rulesets.py: read again when it changed, and never served stale."""

import dataclasses
import errno
import os
from pathlib import Path

import pytest

from netfilter_exporter.facts.rulesets import legacy_ipv4, legacy_readers
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel import rulesets
from netfilter_exporter.kernel.errors import NoData, ReadError, from_oserror
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.nft import tables as nftables
from netfilter_exporter.kernel.rulesets import (
    LEGACY_AGE,
    SMALL,
    LegacyReader,
    NftablesReader,
)
from netfilter_exporter.kernel.system import System
from netfilter_exporter.kernel.xtables import tables as xtables
from netfilter_exporter.kernel.xtables.tables import IPT_SO_GET_INFO
from netfilter_exporter.rules.families import Family, Hook
from netfilter_exporter.rules.model import Action
from netfilter_exporter.rules.reachability import RulesetFacts
from support import nft, wire, xt
from support.script import connect, done, dumped

MASQUERADE = xt.Rule(bytes(24), xt="MASQUERADE")
LOG = xt.Rule(bytes(24), xt="LOG")


# -- nftables ------------------------------------------------------------------------------------


def generation(number):
    return [dumped(nft.nfgenmsg(0) + nft.number(1, number), flags=0)]


def reading(number, rules):
    """Return the answers to one whole reading of a ruleset with so many rules that masquerade."""
    return [
        generation(number),
        [dumped(nft.table()), done()],
        [dumped(nft.chain(Hook.POSTROUTING)), done()],
        [dumped(*[nft.rule(nft.masquerade())] * rules), done()],
        generation(number),
    ]


def count(ruleset):
    return ruleset.facts.rules[Family.IPV4, Action.MASQUERADE]


def test_one_generation_is_read_once():
    """While the generation is the same, asking for it is all that is done."""
    connection, script = connect(*reading(5, 1), generation(5))
    reader = NftablesReader()
    first = reader.read(connection, 1)
    assert reader.read(connection, 1) is first
    assert (first.generation, len(script.requests)) == (5, 6)


def test_another_generation_is_read_again():
    """Larger or smaller: a module that was loaded again begins at 1."""
    for number in (6, 1):
        connection, _ = connect(*reading(5, 1), generation(number), *reading(number, 2))
        reader = NftablesReader()
        assert count(reader.read(connection, 1)) == 1
        assert count(reader.read(connection, 1)) == 2


def test_another_life_of_the_module_is_read_again():
    """Two rulesets of the same generation are told apart by the module that holds them."""
    connection, _ = connect(*reading(5, 1), *reading(5, 2))
    reader = NftablesReader()
    assert count(reader.read(connection, 1)) == 1
    assert count(reader.read(connection, 2)) == 2


def test_what_was_forgotten_is_read_again():
    """Once the module was seen gone, nothing of it is remembered."""
    connection, _ = connect(*reading(5, 1), *reading(5, 2))
    reader = NftablesReader()
    assert count(reader.read(connection, 1)) == 1
    reader.forget()
    assert count(reader.read(connection, 1)) == 2


def test_a_failed_reading_is_not_served_from_memory():
    """What was true of another generation is not served for this one."""
    refused = [wire.error(errno.EPERM)]
    connection, _ = connect(
        *reading(5, 1), *[generation(6)] * 2, refused, generation(6), *reading(6, 2)
    )
    reader = NftablesReader()
    reader.read(connection, 1)
    with pytest.raises(ReadError):
        reader.read(connection, 1)
    assert count(reader.read(connection, 1)) == 2


def test_rules_are_not_dumped_after_a_forced_removal():
    """The kernel would follow a pointer into the module that went; the last reading still holds."""
    used = nft.chain(Hook.POSTROUTING) + nft.number(6, 1)
    connection, script = connect(
        *reading(5, 1), generation(5), generation(6), [dumped(used), done()]
    )
    reader = NftablesReader()
    assert count(reader.read(connection, 1)) == 1
    assert count(reader.read(connection, 1, forced=True)) == 1
    with pytest.raises(ReadError, match="force"):
        reader.read(connection, 1, forced=True)
    assert script.requests[-1].type & 0xFF == nftables.NFT_MSG_GETCHAIN & 0xFF


def test_a_ruleset_without_rules_is_read_after_a_forced_removal():
    """There is no pointer to follow where no chain has a rule."""
    unused = [dumped(nft.chain(Hook.POSTROUTING)), done()]
    connection, _ = connect(unused, *reading(6, 0))
    assert count(NftablesReader().read(connection, 1, forced=True)) == 0


# -- legacy --------------------------------------------------------------------------------------


class Kernel:
    """Legacy IPv4 tables that a test replaces, on a clock that it moves."""

    def __init__(self, directory):
        self.tables = {"nat": xt.table(Family.IPV4, base={4: [MASQUERADE]})}
        self.asked = []
        self.now = 0.0
        self.open = 0
        self._names = directory / xtables.NAMES[Family.IPV4]
        self._names.parent.mkdir()
        self.list_names("nat")
        self.system = dataclasses.replace(
            System(),
            paths=Paths(str(directory)),
            xtables=self._socket,
            clock=lambda: self.now,
        )

    def list_names(self, *names):
        self._names.write_text("".join(f"{name}\n" for name in names))

    def _socket(self, family):
        assert family is Family.IPV4
        self.open += 1
        return self

    def get(self, option, request, _):
        name = request[:32].rstrip(b"\0").decode()
        self.asked.append((option, name))
        if name not in self.tables:
            raise from_oserror(OSError(errno.ENOENT, os.strerror(errno.ENOENT)), "getsockopt")
        return memoryview(xt.answer(name, *self.tables[name], request, option))

    def close(self):
        self.open -= 1


@pytest.fixture
def kernel(tmp_path):
    """A kernel with one rule that masquerades."""
    return Kernel(tmp_path)


def rules(facts):
    return facts.rules[Family.IPV4, Action.MASQUERADE]


def analysed(monkeypatch):
    """Return a list that grows by one at each reading of rules."""
    made = []
    real = rulesets.analyze
    monkeypatch.setattr(rulesets, "analyze", lambda tables: made.append(1) or real(tables))
    return made


def test_a_table_that_is_the_same_is_parsed_once(kernel, monkeypatch):
    """Its entries are compared; packets that it counted make no difference."""
    made = analysed(monkeypatch)
    reader = LegacyReader(Family.IPV4)
    first = reader.read(kernel.system)
    kernel.tables["nat"] = xt.table(Family.IPV4, base={4: [MASQUERADE._replace(packets=7)]})
    assert reader.read(kernel.system) is first
    assert (made, kernel.open) == ([1], 0)


def test_a_table_of_other_numbers_is_read_again(kernel):
    """A rule more or less changes them."""
    reader = LegacyReader(Family.IPV4)
    reader.read(kernel.system)
    kernel.tables["nat"] = xt.table(Family.IPV4, base={4: [MASQUERADE] * 3})
    assert rules(reader.read(kernel.system)) == 3


def test_a_replacement_of_the_same_size_is_seen_at_once(kernel):
    """GET_INFO says the same, and the entries do not."""
    reader = LegacyReader(Family.IPV4)
    assert rules(reader.read(kernel.system)) == 1
    kernel.tables["nat"] = xt.table(Family.IPV4, base={4: [LOG]})
    assert rules(reader.read(kernel.system)) == 0


def test_a_replacement_of_a_large_table_is_seen_in_time(kernel):
    """The one thing that may be seen late, is seen after five minutes: its entries are many."""
    many = SMALL // 100
    kernel.tables["nat"] = xt.table(Family.IPV4, base={4: [MASQUERADE] * many})
    reader = LegacyReader(Family.IPV4)
    reader.read(kernel.system)
    kernel.tables["nat"] = xt.table(Family.IPV4, base={4: [LOG] * many})
    asked = len(kernel.asked)
    kernel.now = LEGACY_AGE - 1
    assert rules(reader.read(kernel.system)) == many
    assert kernel.asked[asked:] == [(IPT_SO_GET_INFO, "nat")]
    kernel.now = LEGACY_AGE
    assert rules(reader.read(kernel.system)) == 0


def test_a_table_that_appears_is_read(kernel):
    """With all the others, so that all facts are of one time."""
    reader = LegacyReader(Family.IPV4)
    reader.read(kernel.system)
    notrack = xt.Rule(b"\1\0\0\0" + bytes(24), xt="CT")
    kernel.tables["raw"] = xt.table(Family.IPV4, "raw", base={0: [notrack]})
    kernel.list_names("raw", "nat")
    facts = reader.read(kernel.system)
    assert (facts.notrack[Family.IPV4], rules(facts)) == (1, 1)


@pytest.mark.parametrize("names", [(), ("security",)])
def test_no_table_is_asked_for_that_is_not_listed(kernel, names):
    """Asking would create it; and others tell nothing about NAT."""
    kernel.list_names(*names)
    assert LegacyReader(Family.IPV4).read(kernel.system) == RulesetFacts()
    assert (kernel.asked, kernel.open) == ([], 0)


def test_tables_that_went_are_forgotten(kernel):
    """A table that comes back with the same numbers is read again."""
    reader = LegacyReader(Family.IPV4)
    reader.read(kernel.system)
    kernel.list_names()
    assert rules(reader.read(kernel.system)) == 0
    kernel.list_names("nat")
    kernel.tables["nat"] = xt.table(Family.IPV4, base={4: [LOG]})
    assert rules(reader.read(kernel.system)) == 0


def test_a_table_that_goes_while_it_is_read_does_not_stand_for_no_rules(kernel):
    """It was listed: that it cannot be had is a failure, and the other tables are not empty."""
    kernel.list_names("nat", "raw")
    with pytest.raises(ReadError) as caught:
        LegacyReader(Family.IPV4).read(kernel.system)
    assert not isinstance(caught.value, NoData)
    assert kernel.open == 0


def test_entries_are_not_read_after_a_forced_removal(kernel):
    """The kernel would follow a pointer into the module that went; the last reading still holds."""
    reader = LegacyReader(Family.IPV4)
    assert rules(reader.read(kernel.system)) == 1
    kernel.now = LEGACY_AGE
    asked = len(kernel.asked)
    assert rules(reader.read(kernel.system, forced=True)) == 1
    kernel.tables["nat"] = xt.table(Family.IPV4, base={4: [MASQUERADE] * 2})
    with pytest.raises(ReadError, match="force"):
        reader.read(kernel.system, forced=True)
    assert {option for option, _ in kernel.asked[asked:]} == {IPT_SO_GET_INFO}
    assert kernel.open == 0


def test_an_empty_table_is_read_after_a_forced_removal(kernel):
    """Policies point into no module."""
    kernel.tables["nat"] = xt.table(Family.IPV4)
    assert rules(LegacyReader(Family.IPV4).read(kernel.system, forced=True)) == 0


@pytest.mark.parametrize("forced_at_first", [False, True])
def test_a_forced_removal_counts_from_the_first_look_on(fake_host, forced_at_first):
    """Rules are read where it happened long ago, and kept unread where it just happened."""
    host = fake_host("6.1/nat-legacy")
    taint = Path(host.system.paths.proc("sys/kernel/tainted"))
    taint.write_text("8\n" if forced_at_first else "0\n")
    looks = Host(host.system)
    assert rules(legacy_ipv4(looks.snapshot(8))) == 1
    taint.write_text("8\n")
    legacy_readers(looks)[Family.IPV4] = LegacyReader(Family.IPV4)
    if forced_at_first:
        assert rules(legacy_ipv4(looks.snapshot(8))) == 1
    else:
        with pytest.raises(ReadError, match="force"):
            _ = legacy_ipv4(looks.snapshot(8))
