"""hits/ and its collector: counters of rules become hits, and nothing else does."""

import collections
import itertools
import random

import pytest

from netfilter_exporter.collectors.nat import COLLECTOR
from netfilter_exporter.config.model import parse
from netfilter_exporter.facts.hits import hit_sampler, named
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.hits import legacy
from netfilter_exporter.hits.account import Account, Changed, Reading, Readings
from netfilter_exporter.hits.nftables import NftablesCounters
from netfilter_exporter.hits.sampler import HitSampler, Source
from netfilter_exporter.kernel.errors import Inconclusive, NoData, ReadError, Status
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.nft.counters import ChainReader, parse_counter
from netfilter_exporter.kernel.nft.maps import Maps
from netfilter_exporter.kernel.nft.tables import read_tables
from netfilter_exporter.kernel.rulesets import Nftables
from netfilter_exporter.kernel.xtables.counters import CounterReader
from netfilter_exporter.kernel.xtables.tables import parse_table
from netfilter_exporter.rules.counted import MOST_RULES, OF_CHAIN, ChainPlace, CountedRule
from netfilter_exporter.rules.families import BOTH, IPV4, Backend, Family, Hook
from netfilter_exporter.rules.model import Action
from netfilter_exporter.rules.reachability import analyze
from support import nft, xt
from support.page import collected
from support.script import Script, done, dumped

V4, V6 = Family.IPV4, Family.IPV6
MASQUERADE = (V4, Action.MASQUERADE)


def rule(position=0, families=IPV4, action=Action.MASQUERADE, interfaces=("wan0",)):
    return CountedRule(ChainPlace(families, "t", "c"), position, families, action, interfaces)


def readings(*packets, state=None, first=0):
    """Return what rules have counted that are known by their numbers from `first` on."""
    found = [Reading(rule(n), first + n, number) for n, number in enumerate(packets)]
    return Readings(found, state)


# -- the account ---------------------------------------------------------------------------------


def test_hits_are_what_was_counted_in_between():
    """An account begins with 0, whatever the counters had."""
    account = Account()
    assert account.take(readings(100, 5)).translations == {MASQUERADE: 0}
    found = account.take(readings(120, 6))
    assert (found.translations, found.counted) == ({MASQUERADE: 21}, {V4: 2})


def test_what_a_new_rule_had_counted_is_unknown():
    """A saved listing may have set it. It counts from the next reading on, or at once from 0."""
    account = Account()
    account.take(readings(100))
    for first, packets, counted in ((1, 400, 0), (2, 0, 1)):
        found = account.take(readings(packets, first=first))
        assert (found.translations, found.counted) == ({MASQUERADE: 0}, {V4: counted})
    found = account.take(readings(7, first=2))
    assert (found.translations, found.counted) == ({MASQUERADE: 7}, {V4: 1})


@pytest.mark.parametrize(
    ("state", "hits", "counted"), [("same", 30, 1), ("another", 0, 0), (None, 0, 0)]
)
def test_a_counter_that_falls(state, hits, counted):
    """It was zeroed where no rule was replaced; otherwise the new rule's beginning is unknown."""
    account = Account()
    account.take(readings(100, state="same" if state else None))
    found = account.take(readings(30, state=state))
    assert (found.translations, found.counted) == ({MASQUERADE: hits}, {V4: counted})


def test_a_rule_of_both_families_counts_in_each():
    """Its counter does not tell them apart."""
    account = Account()
    both = rule(families=BOTH)
    account.take(Readings([Reading(both, 1, 0)]))
    found = account.take(Readings([Reading(both, 1, 9)]))
    assert found.translations == {MASQUERADE: 9, (V6, Action.MASQUERADE): 9}


def test_an_action_whose_rules_went_has_no_series():
    """And goes on where it ended, once it is back."""
    account = Account()
    account.take(readings(0))
    account.take(readings(8))
    assert account.take(readings()).translations == {}
    account.take(readings(0, first=5))
    assert account.take(readings(2, first=5)).translations == {MASQUERADE: 10}


def test_rules_by_name():
    """A name keeps its hits while it names the same rule."""
    uplink = "expect: {rules: [{name: n, family: ipv4, action: masquerade, interface: wan0}]}"
    another = uplink.replace("wan0", "wan1")
    account = Account()
    for text, packets, expected in (
        (uplink, 0, 0), (uplink, 4, 4), (another, 9, None), (uplink, 10, 1),
    ):  # fmt: skip
        account.name(named(parse(text, "test")))
        found = account.take(readings(packets)).named
        assert found.get("n") == expected


class Kernel:
    """Rules that count, and what happens to them; `sent` are the true hits."""

    def __init__(self, chance):
        self.chance = chance
        self.handles = itertools.count(1)
        self.generation = 1
        self.sent = 0
        self.rules = {}
        self.reload()

    def packets(self):
        for handle in self.rules:
            number = self.chance.choice((0, 0, 1, 5))
            self.rules[handle] += number
            self.sent += number

    def reload(self):
        """From a file that says `counter`, or from a listing with its numbers, also an old one."""
        values = self.chance.choice(([0, 0], [*self.rules.values()], [900, 4]))
        self.rules = {next(self.handles): value for value in values}
        self.generation += 1

    def zero(self):
        self.rules = dict.fromkeys(self.rules, 0)

    def replace(self):
        """iptables-nft -Z, and nft replace: the handle stays."""
        handle = self.chance.choice([*self.rules, None])
        if handle is not None:
            self.rules[handle] = 0
            self.generation += 1

    def add(self):
        self.rules[next(self.handles)] = 0
        self.generation += 1

    def delete(self):
        if len(self.rules) > 1:
            del self.rules[self.chance.choice([*self.rules])]
            self.generation += 1

    def read(self):
        found = [Reading(rule(), handle, number) for handle, number in self.rules.items()]
        return Readings(found, self.generation)


@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_random_changes_invent_nothing(seed):
    """Never a fall, never more than was sent; and all of it once nothing changes."""
    kernel = Kernel(random.Random(seed))
    account = Account()
    account.take(kernel.read())
    kernel.sent = before = 0
    actions = (kernel.reload, kernel.zero, kernel.replace, kernel.add, kernel.delete)
    for _ in range(1000):
        kernel.packets()
        kernel.chance.choice(actions)()
        if kernel.chance.random() < 0.5:
            kernel.packets()
        if kernel.chance.random() < 0.8:
            found = account.take(kernel.read()).translations.get(MASQUERADE, before)
            assert before <= found <= kernel.sent
            before = found
    assert before > kernel.sent / 10
    account.take(kernel.read())
    kernel.packets()
    kernel.packets()
    sent = kernel.sent
    before = account.take(kernel.read()).translations[MASQUERADE]
    kernel.packets()
    after = account.take(kernel.read()).translations[MASQUERADE]
    assert after - before == kernel.sent - sent


# -- which rules ---------------------------------------------------------------------------------


def facts(*rules, size=0):
    """Return the facts of a table whose chain holds these rules, beside so many others."""
    generation = [dumped(nft.nfgenmsg(0) + nft.number(1, 7), flags=0)]
    others = [nft.rule(nft.immediate(nft.ACCEPT), chain="other")] * size
    script = Script(
        generation,
        [dumped(nft.table()), done()],
        [dumped(nft.chain(Hook.POSTROUTING), nft.chain(called="other")), done()],
        [dumped(*rules, *others), done()],
        generation,
    )
    reading = read_tables(lambda _: Connection(script, 1e9, lambda: 0.0), Maps())
    return analyze(reading.tables)


MATCH = nft.interface(nft.OIFNAME, "wan0")


@pytest.mark.parametrize(
    ("expressions", "counted"),
    [
        ((MATCH, nft.counter(), nft.masquerade()), True),
        ((nft.counter(), nft.masquerade()), True),
        ((nft.counter(), MATCH, nft.counter(), nft.masquerade()), True),
        ((nft.counter(), MATCH, nft.masquerade()), False),
        ((MATCH, nft.masquerade()), False),
        ((MATCH, nft.masquerade(), nft.counter()), False),
        ((MATCH, nft.counter(), nft.xt_target("MASQUERADE")), True),
        ((MATCH, nft.counter(), nft.immediate(nft.ACCEPT)), False),
    ],
)
def test_a_counter_counts_what_is_translated(expressions, counted):
    """Only behind every match, and before the translation."""
    found = facts(nft.rule(*expressions)).counted
    assert bool(found.rules) is counted
    translates = expressions[-1] != nft.immediate(nft.ACCEPT)
    assert found.uncounted == (translates and not counted)


def test_more_rules_than_can_be_read_are_none():
    """The chains that have to be read decide, not the ruleset."""
    counted = nft.rule(MATCH, nft.counter(), nft.masquerade())
    assert len(facts(counted, size=4 * MOST_RULES).counted.rules) == 1
    assert len(facts(*[counted] * (MOST_RULES - OF_CHAIN)).counted.rules) == MOST_RULES - OF_CHAIN
    found = facts(*[counted] * (MOST_RULES - OF_CHAIN + 1)).counted
    assert (found.too_many, found.rules) == (True, [])


# -- nftables ------------------------------------------------------------------------------------


class Nft:
    """A kernel that holds two rules, and a reading of them in generation 7."""

    def __init__(self):
        self.generation = 7
        self.life = 1
        self.rules = [(1, 10), (2, 20)]
        self.counters = NftablesCounters()
        self.asked = None  #: the generation in which the table was asked for
        self.last = Nftables(7, facts(*self.messages()), True, True, 0.0, 0.0)

    def messages(self):
        return [
            nft.rule(MATCH, nft.counter(packets), nft.masquerade(), number_=handle)
            for handle, packets in self.rules
        ]

    def read(self):
        generation = [dumped(nft.nfgenmsg(0) + nft.number(1, self.generation), flags=0)]
        table = nft.nfgenmsg(nft.IP) + nft.name(1, "t") + nft.handle(4, self.life)
        tables = [[dumped(table, flags=0)]] if self.asked != self.generation else []
        self.asked = self.generation
        script = Script(generation, *tables, [dumped(*self.messages()), done()], generation)
        return self.counters.read(Connection(script, 1e9, lambda: 0.0), self.last)

    def packets(self):
        return [each.packets for each in self.read().rules]


def test_each_rule_has_its_counter():
    """In the order of the ruleset."""
    kernel = Nft()
    assert kernel.packets() == [10, 20]
    kernel.rules = [(1, 11), (2, 25)]
    assert kernel.packets() == [11, 25]


def test_another_generation_with_the_same_rules_is_understood():
    """Sets and other tables change more often than rules do."""
    kernel = Nft()
    kernel.read()
    kernel.generation = 8
    assert kernel.packets() == [10, 20]


@pytest.mark.parametrize("change", ["life", "handle", "fewer", "never seen"])
def test_other_rules_are_not_taken_for_those(change):
    """What was at a position may do something else by now."""
    kernel = Nft()
    if change != "never seen":
        kernel.read()
    kernel.generation = 8
    kernel.life += change == "life"
    if change == "handle":
        kernel.rules = [(1, 10), (3, 20)]
    if change == "fewer":
        kernel.rules = [(1, 10)]
    with pytest.raises(Changed):
        kernel.read()


def test_a_table_that_was_made_again_has_other_rules():
    """Its handles begin at 1 again, and before v4.16 it has none itself."""
    kernel = Nft()
    keys = []
    for life, generation in ((1, 7), (2, 8), (0, 9), (0, 10)):
        kernel.life, kernel.generation = life, generation
        kernel.last = kernel.last._replace(generation=generation)
        keys.append(tuple(each.key for each in kernel.read().rules))
    assert len(set(keys)) == len(keys)


def test_a_rule_is_known_when_another_comes_before_it():
    """The kernel writes which one that is into the message, but for the first of a chain."""
    first, later = (
        parse_counter(
            memoryview(nft.rule(MATCH, nft.counter(3), nft.masquerade(), userdata=position))
        ).content
        for position in (b"", nft.handle(6, 9))
    )
    assert first == later


def random_messages(chance, rules):
    """Return the messages of rules as they are now, in a generation of some number."""
    number = chance.randrange(1 << 16).to_bytes(2, "big")
    for handle, wan, count in rules:
        match = nft.interface(nft.OIFNAME, f"wan{wan}")
        counters = [nft.counter(chance.randrange(9)) for _ in range(count)]
        message = nft.rule(match, *counters, nft.masquerade(), number_=handle)
        yield message[:2] + number + message[4:]


@pytest.mark.parametrize("seed", range(5))
def test_rules_that_are_known_are_read_as_if_they_were_not(seed):
    """With other values, other rules of the same size, and rules with no or two counters."""
    chance = random.Random(seed)
    rules = [[1, 0, 1], [2, 1, 1]]
    again = ChainReader((nft.IP, "t"), "c")
    for _ in range(100):
        chance.choice(
            (
                lambda: None,
                lambda: None,
                lambda: rules.append([chance.randrange(9), 0, chance.randrange(3)]),
                lambda: len(rules) > 1 and rules.pop(chance.randrange(len(rules))),
                lambda: chance.choice(rules).__setitem__(chance.randrange(2), chance.randrange(9)),
            )
        )()
        answer = [dumped(*random_messages(chance, rules), nft.rule(chain="another")), done()]
        known, new = (
            reader.read(Connection(Script(answer), 1e9, lambda: 0.0))
            for reader in (again, ChainReader((nft.IP, "t"), "c"))
        )
        assert known == new
        assert len(known.rules) == len(rules)
        assert [*known.packets] == [n for n, (*_, counters) in enumerate(rules) if counters]


def test_a_counter_of_another_size_is_malformed():
    """Never a guess."""
    short = nft.expression("counter", nft.number(1, 0), nft.number(2, 0))
    with pytest.raises(ReadError, match="4 bytes"):
        parse_counter(memoryview(nft.rule(short, nft.masquerade())))


# -- legacy --------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", Family)
def test_legacy_counters_are_those_of_their_rules(family):
    """In base and user chains; identical rules are told apart by their order."""
    target = {"target": bytes(24), "xt": "MASQUERADE"}
    base = {Hook.POSTROUTING: [xt.Rule(packets=5), xt.Rule(**target, packets=7)]}
    base[Hook.POSTROUTING] += [xt.Rule("user"), xt.Rule(**target, packets=8)]
    user = {"user": [xt.Rule(**target, out="wan0", packets=9)]}
    info, blob = xt.table(family, base=base, user=user)
    table = parse_table(memoryview(blob), info, family, "nat")
    counted = analyze([table]).counted.rules
    reader = CounterReader(memoryview(blob), info, family)

    class Xtables:
        def get(self, option, request, size):  # noqa: ARG002
            return memoryview(xt.answer("nat", info, blob, request, option))

    found = legacy.read(Xtables(), reader, counted)
    by_chain = collections.defaultdict(list)
    for each in found.rules:
        by_chain[each.rule.place.chain].append(each.packets)
    assert by_chain == {"POSTROUTING": [7, 8], "user": [9]}
    assert len({each.key for each in found.rules}) == 3
    assert found.state is None
    blob = blob.replace(b"MASQUERADE", b"MASQUERAXX")
    with pytest.raises(Changed):
        legacy.read(Xtables(), reader, counted)


# -- the sampler ---------------------------------------------------------------------------------


def sampler(*answers, backend=Backend.NFTABLES, sleep=None):
    """Return a sampler of one ruleset that answers as a test says."""
    left = iter(answers)

    def read():
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return HitSampler([Source(backend, read)], sleep or (lambda _: None))


def test_hits_are_held_while_the_rules_change(monkeypatch):
    """For three looks, and no longer."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    found = sampler(readings(0), readings(5), *[Changed("changed")] * 5)
    seen = []
    for _ in range(7):
        found.look()
        seen.append(found.current()[0].hits)
        now[0] += 15.0
    assert [hits and hits.translations[MASQUERADE] for hits in seen] == [0, 5, 5, 5, 5, None, None]


@pytest.mark.parametrize(
    "error", [NoData("none"), Inconclusive("too many"), ValueError("a defect")]
)
def test_what_cannot_be_read_has_no_hits(error):
    """Nor does it hide what other rulesets have; the account goes on where it ended."""
    found = sampler(readings(0), readings(5), error, readings(6))
    for _ in range(3):
        found.look()
    assert found.current()[0].hits is None
    assert isinstance(found.current()[0].error, ReadError)
    found.look()
    assert found.current()[0].hits.translations == {MASQUERADE: 6}


def test_a_legacy_table_is_read_again_after_a_fall():
    """iptables-legacy clears the counters, and puts them back a moment later."""
    slept = []
    found = sampler(
        readings(100), readings(3), readings(105), backend=Backend.LEGACY, sleep=slept.append
    )
    found.look()
    found.look()
    assert found.current()[0].hits.translations == {MASQUERADE: 5}
    assert len(slept) == 1


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [(0.1, [0, 1, 2, 3, 4, 5, 6]), (0.3, [0, 0, 2, 2, 4, 4, 6]), (9, [0, 0, 0, 3, 3, 3, 6])],
)
def test_a_scrape_takes_a_look_when_one_is_due(monkeypatch, milliseconds, expected):
    """So often that looks take 0.2 ms of each 15 s, but at least every 45 s; at once by nobody."""
    now, spent = [0.0], [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.thread_time", lambda: spent[0])

    def read():
        spent[0] += milliseconds / 1000
        return readings(round(now[0] / 15))

    found = HitSampler([Source(Backend.NFTABLES, read)])
    with pytest.raises(NoData):
        found.current()
    found.start()
    seen = []
    for _ in range(7):
        seen.append(found.current()[0].hits.translations[MASQUERADE])
        found.current()  # another Prometheus
        now[0] += 15.0
    assert seen == expected
    found.close()
    assert found.current()[0].hits.translations[MASQUERADE] == 6


# -- the collector -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "labels"),
    [("6.18/nat-legacy", ("legacy", "ipv4", "masquerade"))],
)
def test_the_page_of_a_recorded_host(fake_host, name, labels):
    """Nothing before the first look, then 0 for each action with counted rules."""
    host = Host(fake_host(name).system)
    rows, status = collected(COLLECTOR, host)
    assert rows["nat_translations_total"] == rows["nat_counted_rules"] == {}
    hit_sampler(host).look()
    rows, status = collected(COLLECTOR, host)
    assert rows["nat_translations_total"][labels] == 0
    assert rows["nat_counted_rules"][labels[:2]] >= 1
    assert status is Status.OK
