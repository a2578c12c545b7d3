"""kernel/rulesets.py: read again when it changed, and never served stale."""

import dataclasses
import errno
import os
import threading
from pathlib import Path

import pytest

from netfilter_exporter import collection, collectors
from netfilter_exporter.collection import Gatherer
from netfilter_exporter.facts.rulesets import legacy_ipv4, legacy_readers
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel import rulesets
from netfilter_exporter.kernel.background import StillReading
from netfilter_exporter.kernel.errors import HEALTHY, NoData, ReadError, Status, from_oserror
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import HEADER
from netfilter_exporter.kernel.nft import tables as nftables
from netfilter_exporter.kernel.nft.uapi import NFT_MSG_GETRULE, NFT_TABLE_F_OWNER
from netfilter_exporter.kernel.rulesets import (
    LEGACY_AGE,
    SMALL,
    LegacyReader,
    NftablesReader,
    life,
)
from netfilter_exporter.kernel.system import System
from netfilter_exporter.kernel.xtables import tables as xtables
from netfilter_exporter.kernel.xtables.tables import IPT_SO_GET_INFO
from netfilter_exporter.rules.families import Family, Hook
from netfilter_exporter.rules.model import Action
from netfilter_exporter.rules.reachability import RulesetFacts
from support import nft, wire, xt
from support.script import Script, done, dumped
from support.serving import eventually

MASQUERADE = xt.Rule(bytes(24), xt="MASQUERADE")
LOG = xt.Rule(bytes(24), xt="LOG")


def patiently():
    return 30.0


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


class Nft:
    """A kernel that answers as written, and a reader of it, on a clock that goes on."""

    pace = 0.01  #: seconds from one look at the clock to the next

    def __init__(self, *answers):
        self.script = Script(*answers)
        self.now = 0.0
        self.system = dataclasses.replace(System(), netlink=lambda _: self.script, clock=self.clock)
        self.reader = NftablesReader()

    def clock(self):
        self.now += self.pace
        return self.now

    def read(self, module=1, patience=30.0, **how):
        connection = Connection(self.script, 1e9, self.clock)
        return self.reader.read(self.system, connection, module, lambda: patience, **how)


def test_one_generation_is_read_once():
    """While the generation is the same, asking for it is all that is done."""
    kernel = Nft(generation(5), *reading(5, 1), generation(5))
    first = kernel.read()
    assert kernel.read() is first
    assert (first.generation, len(kernel.script.requests)) == (5, 7)


@pytest.mark.parametrize("number", [6, 1])
def test_another_generation_is_read_again(number):
    """Larger or smaller: a module that was loaded again begins at 1."""
    kernel = Nft(generation(5), *reading(5, 1), generation(number), *reading(number, 2))
    assert [count(kernel.read()), count(kernel.read())] == [1, 2]


def test_another_life_of_the_module_is_read_again():
    """Two rulesets of the same generation are told apart by the module that holds them."""
    kernel = Nft(generation(5), *reading(5, 1), generation(5), *reading(5, 2))
    assert [count(kernel.read(1)), count(kernel.read(2))] == [1, 2]


def test_what_was_forgotten_is_read_again():
    """Once the module was seen gone, nothing of it is remembered."""
    kernel = Nft(generation(5), *reading(5, 1), generation(5), *reading(5, 2))
    assert count(kernel.read()) == 1
    kernel.reader.forget()
    assert count(kernel.read()) == 2


def test_a_failed_reading_is_not_served_from_memory():
    """What was true of another generation is not served for this one."""
    refused = [wire.error(errno.EPERM)]
    kernel = Nft(
        generation(5), *reading(5, 1), *[generation(6)] * 2, refused, generation(6), *reading(6, 2)
    )
    kernel.read()
    with pytest.raises(ReadError):
        kernel.read()
    assert count(kernel.read()) == 2


def test_rules_are_not_dumped_after_a_forced_removal():
    """The kernel would follow a pointer into the module that went; the last reading still holds."""
    used = nft.chain(Hook.POSTROUTING) + nft.number(6, 1)
    kernel = Nft(
        generation(5), *reading(5, 1), generation(5), generation(6), [dumped(used), done()]
    )
    assert count(kernel.read()) == 1
    assert count(kernel.read(forced=True)) == 1
    with pytest.raises(ReadError, match="force"):
        kernel.read(forced=True)
    assert kernel.script.requests[-1].type & 0xFF == nftables.NFT_MSG_GETCHAIN & 0xFF


def test_a_ruleset_without_rules_is_read_after_a_forced_removal():
    """There is no pointer to follow where no chain has a rule."""
    unused = [dumped(nft.chain(Hook.POSTROUTING)), done()]
    assert count(Nft(generation(6), unused, *reading(6, 0)).read(forced=True)) == 0


def test_a_life_ends_before_the_module_is_gone(tmp_path):
    """It no longer answers by then, and whoever asks has it loaded again."""
    state = tmp_path / "module/nf_tables/initstate"
    state.parent.mkdir(parents=True)
    state.write_text("live\n")
    paths = Paths(sysfs=str(tmp_path))
    assert life(paths)
    state.write_text("going\n")
    with pytest.raises(NoData, match="unloaded"):
        life(paths)


def test_what_listens_leaves_with_the_module():
    """Its socket would stay in a group of nf_tables, and says nothing of the next life."""
    kernel = Nft(generation(5), *reading(5, 1), generation(6), *reading(6, 1), generation(6))
    joined = []
    kernel.system = dataclasses.replace(
        kernel.system, listen=lambda *where: joined.append((*where, Script([]))) or joined[-1][-1]
    )
    kernel.reader.listen_up_to(1)
    kernel.read()
    assert joined == []
    kernel.read()
    ((protocol, group, news),) = joined
    assert (protocol, group, news.closed) == (12, 7, False)
    kernel.reader.forget()
    assert news.closed


def held_up(until):
    """Return the answers to a reading, the second of which waits for an event."""
    answers = reading(5, 1)
    tables = answers[1][0]
    answers[1][0] = lambda number: until.wait(30) and wire.with_sequence(tables, number)
    return answers


def test_a_reading_outlives_the_scrape_that_began_it():
    """A later one finds it done: the rules are read once, however long that takes."""
    until = threading.Event()
    kernel = Nft(generation(5), *held_up(until), generation(5))
    with pytest.raises(StillReading):
        kernel.read(patience=0.01)
    until.set()
    eventually(lambda: kernel.reader.last)
    assert count(kernel.read()) == 1
    assert len(kernel.script.requests) == 7


def test_a_reading_of_a_life_that_is_over_is_not_served():
    """It ends after the module went, and what it found is forgotten with it."""
    until = threading.Event()
    kernel = Nft(generation(5), *held_up(until), generation(5), *reading(5, 2))
    with pytest.raises(StillReading):
        kernel.read(patience=0.01)
    reader = next(t for t in threading.enumerate() if t.name == "nftables")
    kernel.reader.forget()
    until.set()
    reader.join()
    assert count(kernel.read()) == 2


def test_a_ruleset_that_changes_by_itself_is_read_at_each_scrape():
    """Its generation says nothing: elements go when their time is over, tables with their owner."""
    owned = [dumped(nft.table(flags=NFT_TABLE_F_OWNER)), done()]
    first, second = reading(5, 1), reading(5, 2)
    first[1] = second[1] = owned
    kernel = Nft(generation(5), *first, generation(5), *second)
    assert [count(kernel.read()), count(kernel.read())] == [1, 2]


def test_a_huge_one_is_left_alone_for_a_while():
    """Else its reading would not end before the next begins, at any scrape."""
    owned = [dumped(nft.table(flags=NFT_TABLE_F_OWNER)), done()]
    first = reading(5, 1)
    first[1] = owned
    kernel = Nft(generation(5), *first, generation(5))
    kernel.pace = 1.0
    assert [count(kernel.read()), count(kernel.read())] == [1, 1]


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
            clock=self._clock,
        )

    def _clock(self):
        self.now += 0.001
        return self.now

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
    first = reader.read(kernel.system, patiently)
    kernel.tables["nat"] = xt.table(Family.IPV4, base={4: [MASQUERADE._replace(packets=7)]})
    assert reader.read(kernel.system, patiently) is first
    assert (made, kernel.open) == ([1], 0)


def test_a_table_of_other_numbers_is_read_again(kernel):
    """A rule more or less changes them."""
    reader = LegacyReader(Family.IPV4)
    reader.read(kernel.system, patiently)
    kernel.tables["nat"] = xt.table(Family.IPV4, base={4: [MASQUERADE] * 3})
    assert rules(reader.read(kernel.system, patiently)) == 3


def test_a_replacement_of_the_same_size_is_seen_at_once(kernel):
    """GET_INFO says the same, and the entries do not."""
    reader = LegacyReader(Family.IPV4)
    assert rules(reader.read(kernel.system, patiently)) == 1
    kernel.tables["nat"] = xt.table(Family.IPV4, base={4: [LOG]})
    assert rules(reader.read(kernel.system, patiently)) == 0


def test_a_replacement_of_a_large_table_is_seen_in_time(kernel):
    """The one thing that may be seen late, is seen after five minutes: its entries are many."""
    many = SMALL // 100
    kernel.tables["nat"] = xt.table(Family.IPV4, base={4: [MASQUERADE] * many})
    reader = LegacyReader(Family.IPV4)
    reader.read(kernel.system, patiently)
    kernel.tables["nat"] = xt.table(Family.IPV4, base={4: [LOG] * many})
    asked = len(kernel.asked)
    kernel.now = LEGACY_AGE - 1
    assert rules(reader.read(kernel.system, patiently)) == many
    assert kernel.asked[asked:] == [(IPT_SO_GET_INFO, "nat")]
    kernel.now = LEGACY_AGE + 1
    assert rules(reader.read(kernel.system, patiently)) == 0


def test_a_table_that_appears_is_read(kernel):
    """With all the others, so that all facts are of one time."""
    reader = LegacyReader(Family.IPV4)
    reader.read(kernel.system, patiently)
    notrack = xt.Rule(b"\1\0\0\0" + bytes(24), xt="CT")
    kernel.tables["raw"] = xt.table(Family.IPV4, "raw", base={0: [notrack]})
    kernel.list_names("raw", "nat")
    facts = reader.read(kernel.system, patiently)
    assert (facts.notrack[Family.IPV4], rules(facts)) == (1, 1)


@pytest.mark.parametrize("names", [(), ("security",)])
def test_no_table_is_asked_for_that_is_not_listed(kernel, names):
    """Asking would create it; and others tell nothing about NAT."""
    kernel.list_names(*names)
    assert LegacyReader(Family.IPV4).read(kernel.system, patiently) == RulesetFacts()
    assert (kernel.asked, kernel.open) == ([], 0)


def test_tables_that_went_are_forgotten(kernel):
    """A table that comes back with the same numbers is read again."""
    reader = LegacyReader(Family.IPV4)
    reader.read(kernel.system, patiently)
    kernel.list_names()
    assert rules(reader.read(kernel.system, patiently)) == 0
    kernel.list_names("nat")
    kernel.tables["nat"] = xt.table(Family.IPV4, base={4: [LOG]})
    assert rules(reader.read(kernel.system, patiently)) == 0


def test_a_table_that_goes_while_it_is_read_does_not_stand_for_no_rules(kernel):
    """It was listed: that it cannot be had is a failure, and the other tables are not empty."""
    kernel.list_names("nat", "raw")
    with pytest.raises(ReadError) as caught:
        LegacyReader(Family.IPV4).read(kernel.system, patiently)
    assert not isinstance(caught.value, NoData)
    assert kernel.open == 0


def test_entries_are_not_read_after_a_forced_removal(kernel):
    """The kernel would follow a pointer into the module that went; the last reading still holds."""
    reader = LegacyReader(Family.IPV4)
    assert rules(reader.read(kernel.system, patiently)) == 1
    kernel.now = LEGACY_AGE + 1
    asked = len(kernel.asked)
    assert rules(reader.read(kernel.system, patiently, forced=True)) == 1
    kernel.tables["nat"] = xt.table(Family.IPV4, base={4: [MASQUERADE] * 2})
    with pytest.raises(ReadError, match="force"):
        reader.read(kernel.system, patiently, forced=True)
    assert {option for option, _ in kernel.asked[asked:]} == {IPT_SO_GET_INFO}
    assert kernel.open == 0


def test_an_empty_table_is_read_after_a_forced_removal(kernel):
    """Policies point into no module."""
    kernel.tables["nat"] = xt.table(Family.IPV4)
    assert rules(LegacyReader(Family.IPV4).read(kernel.system, patiently, forced=True)) == 0


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


# -- on the page ---------------------------------------------------------------------------------


class SlowSocket:
    """A netlink socket whose dumps of rules wait for an event."""

    def __init__(self, socket, until):
        self._socket = socket
        self._until = until
        self.receive, self.close = socket.receive, socket.close

    def send(self, datagram):
        if HEADER.unpack_from(datagram)[1] == NFT_MSG_GETRULE:
            self._until.wait(30)
        self._socket.send(datagram)


@pytest.fixture
def slow(fake_host, monkeypatch):
    """A host whose rules take long, an event that ends that, and a gatherer without patience."""
    monkeypatch.setattr(collection, "PATIENCE", 0.05)
    until = threading.Event()
    system = fake_host("6.1/nat-nft").system
    slow = dataclasses.replace(
        system, netlink=lambda protocol: SlowSocket(system.netlink(protocol), until)
    )
    gatherer = Gatherer(Host(slow))
    yield gatherer, until
    until.set()
    gatherer.close()


def test_a_page_without_rules_is_followed_by_one_with_them(slow):
    """The collectors that need rules say `timeout`, the others are served; nothing is given up."""
    gatherer, until = slow
    wanted = collectors.load().values()
    statuses = {name: o.status for name, o in gatherer.gather(wanted).outcomes.items()}
    assert statuses["nat"] is Status.TIMEOUT
    assert statuses["sysctl"] is statuses["conntrack"] is Status.OK
    until.set()
    eventually(lambda: all(o.success for o in gatherer.gather(wanted).outcomes.values()))


def test_who_makes_one_page_waits_for_the_rules(slow):
    """`check` and textfile mode have no next scrape."""
    gatherer, until = slow
    threading.Timer(0.3, until.set).start()
    outcomes = gatherer.gather_whole(collectors.load().values()).outcomes
    assert {outcome.status for outcome in outcomes.values()} <= HEALTHY
