"""flows/ports.py and what it stands on: ports of a translated address, by destination."""

import struct
from collections import Counter

import pytest

from netfilter_exporter.flows.look import Look
from netfilter_exporter.flows.ports import ADDRESSES, PortWatch
from netfilter_exporter.kernel.conntrack.flow import PortUse, Reading, Towards
from netfilter_exporter.kernel.conntrack.port_count import count_listed_ports, count_ports
from netfilter_exporter.kernel.errors import NoData, TimedOut, Unsupported
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netlink.attributes import nest, pack
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import nfgenmsg
from netfilter_exporter.rules.detail import NatTarget
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.source_ports import UNRESTRICTED, ports_of
from netfilter_exporter.rules.translations import SourceTarget, TranslationFacts
from support.script import Script, done, dumped

V4 = Family.IPV4
TCP = 6
ADDRESS, SERVER = bytes((203, 0, 113, 1)), bytes((198, 51, 100, 2))
RANGE = (1000, 1999)


def towards(port=443, address=ADDRESS):
    return Towards(V4, TCP, address, SERVER, port)


def look(*uses, entries, sampled=0, complete=False, buckets=1024):
    """Return a look at a table of which so many entries were sampled."""
    reading = Reading(
        "ctnetlink", [b""] * sampled, Counter(), lambda _: None, complete,
        port_use=lambda number, fewest: [u for u in uses if len(u.ports) >= fewest][:number],
    )  # fmt: skip
    return Look(reading, entries, buckets)


def use(number, port=443, address=ADDRESS, first=1000):
    return PortUse(towards(port, address), range(first, first + number))


def watch(count=None, ranges=RANGE, clock=lambda: 0.0):
    def counting(*_):
        if isinstance(count, Exception):
            raise count
        return count

    return PortWatch(lambda _: ranges, counting, listing(counting), clock)


def listing(count):
    """Return what counts in a list as `count` counts in a dump; all go to one destination."""
    return lambda wanted: {source: (towards(address=source.address), count()) for source in wanted}


def used(found):
    return [(each.towards.port, each.used) for each in found]


def test_a_whole_table_is_counted():
    """The destination with the most ports, and ports of the range only."""
    found = watch().take(
        look(use(300, 80), use(500, 443, first=1900), use(120, 443), entries=920, complete=True),
        0.0,
    )
    assert used(found) == [(80, 300)]
    assert found[0].size == 1000


def test_an_unknown_range_is_left_out():
    """No ratio of it can be told."""
    assert watch(ranges=None).take(look(use(300), entries=300, complete=True), 0.0) == []


@pytest.mark.parametrize(
    ("sampled", "expected"),
    [(49, []), (75, [(443, 375.0)]), (90, [(443, 777)]), (120, [(443, 777)])],
)
def test_few_ports_are_estimated_and_many_counted(sampled, expected):
    """They are counted if half of the range may be in use; fewer than fifty sampled say nothing."""
    found = watch(777).take(look(use(sampled), entries=8500, sampled=1700), 0.0)
    assert used(found) == expected


@pytest.mark.parametrize("error", [Unsupported("no filter"), TimedOut("too long")])
def test_what_cannot_be_counted_is_served_from_a_large_sample_only(error):
    """A small one is off by more than a tenth."""
    ports = watch(error, ranges=(1000, 10999))
    assert used(ports.take(look(use(600), entries=17000, sampled=1700), 0.0)) == [(443, 6000.0)]
    small = watch(error)
    assert used(small.take(look(use(60), entries=17000, sampled=1700), 0.0)) == []


@pytest.mark.parametrize(
    ("entries", "buckets", "listed"),
    [(17_000, 1024, False), (170_000, 65_536, True), (17_000, 1 << 20, True), (17_000, None, True)],
)
def test_a_dump_that_would_delay_packets_is_not_made(entries, buckets, listed):
    """A large table that holds few such flows, or many empty buckets: what is listed is counted."""
    how = []
    ports = PortWatch(
        lambda _: RANGE,
        lambda *_: how.append(False) or 777,
        listing(lambda: how.append(True) or 777),
        lambda: 0.0,
    )
    asked = look(use(60), entries=entries, sampled=1700 * entries // 17000, buckets=buckets)
    assert used(ports.take(asked, 0.0)) == [(443, 777)]
    assert how == [listed]


def test_what_takes_the_whole_budget_is_not_listed():
    """Nor are ports then guessed from few flows."""
    asked = look(use(60), entries=1_000_000, sampled=100_000, buckets=1 << 20)
    assert used(watch(777).take(asked, 0.0)) == []


def test_what_was_listed_is_served_until_the_next_count():
    """Some flows say that ports may be scarce; later looks may have none of them, or more."""
    ports = Cpu(0.05).watch(700)
    seen = [
        used(ports.take(look(use(n), entries=34_000, sampled=1700, buckets=1 << 20), now))
        for n, now in ((1, 0.0), (20, 15.0), (30, 30.0), (0, 45.0))
    ]
    assert seen == [[], *[[(443, 700)]] * 3]


def test_a_sample_that_would_not_show_it():
    """One flow of the source is enough, where half of its range would be four in the sample."""
    asked = look(use(1), entries=200_000, sampled=1700)
    assert used(watch(700).take(asked, 0.0)) == [(443, 700)]
    assert used(watch(700, ranges=(1024, 65535)).take(asked, 0.0)) == []


def test_what_was_scarce_is_listed_again_and_then_forgotten():
    """Though no look shows it: it is counted once more, and is no longer scarce."""
    counts, asked = iter((700, 600, 400)), []

    def count_listed(wanted):
        asked.append(len(wanted))
        return {source: (towards(), number) for source in wanted for number in [next(counts)]}

    ports = PortWatch(lambda _: RANGE, lambda *_: 0, count_listed, lambda: 0.0)
    seen = [
        used(ports.take(look(use(sampled), entries=140_000, sampled=1700), now))
        for sampled, now in ((4, 0.0), (0, 600.0), (0, 1200.0), (0, 1800.0))
    ]
    assert seen == [[(443, 700)], [(443, 600)], [(443, 400)], []]
    assert asked == [1, 1, 1]


def test_a_count_ends_with_its_range_and_with_a_reading_of_the_whole_table():
    """Rules may change, and what is read as a whole needs no count."""
    few, whole = look(entries=140_000, sampled=1700), look(use(9), entries=9, complete=True)
    ranges = [RANGE]
    ports = Cpu(0.5).watch(700, lambda: ranges[-1])
    assert used(ports.take(look(use(4), entries=140_000, sampled=1700), 0.0)) == [(443, 700)]
    ranges.append((1000, 4999))
    assert used(ports.take(few, 15.0)) == []
    ranges.append(RANGE)
    assert used(ports.take(few, 30.0)) == [(443, 700)]
    assert used(ports.take(whole, 45.0)) == [(443, 9)]
    assert used(ports.take(few, 60.0)) == []


def test_the_most_used_of_many_destinations_is_found():
    """That of the list, not one with more samples; another address has its estimate."""
    ports = PortWatch(
        lambda source: RANGE if source.address == ADDRESS else UNRESTRICTED,
        lambda *_: 0,
        lambda wanted: {source: (towards(50), 800) for source in wanted},
        lambda: 0.0,
    )
    uses = [use(90, 2, bytes(4), 2000), *(use(4, port) for port in range(100, 200))]
    found = used(ports.take(look(*uses, entries=140_000, sampled=1400), 0.0))
    assert found == [(50, 800), (2, 9000.0)]


class Cpu:
    """A clock of CPU time, on which each count takes so many seconds."""

    def __init__(self, cost):
        self.cost = cost
        self.now = 0.0
        self.counts = 0

    def watch(self, number, ranges=lambda: RANGE):
        def count(*_):
            self.now += self.cost
            self.counts += 1
            return number

        def count_listed(wanted):
            found = count()
            return {source: (towards(address=source.address), found) for source in wanted}

        return PortWatch(lambda _: ranges(), count, count_listed, lambda: self.now)


def test_between_two_counts_the_last_follows_the_sample():
    """And is made again when the time has come."""
    ports = Cpu(0.05).watch(700)
    seen = [
        used(ports.take(look(use(sampled), entries=17000, sampled=1700), now))
        for sampled, now in ((60, 0.0), (66, 15.0), (54, 45.0))
    ]
    assert seen == [[(443, 700)], [(443, pytest.approx(770))], [(443, 700)]]


@pytest.mark.parametrize("destinations", [1, 2, 4, 6])
@pytest.mark.parametrize("cost", [0.002, 0.05, 0.13, 0.2, 0.26, 0.3, 0.38, 0.45, 0.6, 0.75, 0.9])
def test_counting_keeps_to_its_share_in_any_ten_minutes(cost, destinations):
    """Wherever they begin: less than a second, also on a machine that needs 0.9 s for a count."""
    cpu = Cpu(cost)
    ports = cpu.watch(700)
    uses = [use(60, address=bytes((203, 0, 113, n))) for n in range(destinations)]
    spent = []
    for number in range(8 * 60):
        before = cpu.now
        ports.take(look(*uses, entries=17000, sampled=1700), number * 15.0)
        spent.append(cpu.now - before)
    windows = [sum(spent[first : first + 40]) for first in range(len(spent) - 40)]
    assert max(windows) <= max(0.75, cost) + 1e-9
    assert cpu.counts >= 10, "it is not given up"


def test_a_table_that_grows_after_a_count():
    """As many are sampled, which then stand for more."""
    ports = Cpu(0.05).watch(6600, lambda: (1000, 10999))
    assert used(ports.take(look(use(600), entries=17000, sampled=1700), 0.0))[0][
        1
    ] == pytest.approx(6600)
    found = used(ports.take(look(use(600), entries=25500, sampled=1700), 15.0))
    assert found == [(443, pytest.approx(9900))]


def test_at_most_four_are_counted_in_a_look():
    """And at most 64 addresses are reported."""
    counted = []
    ports = PortWatch(
        lambda _: RANGE, lambda to, _: counted.append(to) or 700, lambda _: {}, lambda: 0.0
    )
    uses = [use(60, address=bytes((203, 0, 113, n))) for n in range(6)]
    assert len(ports.take(look(*uses, entries=17000, sampled=1700), 0.0)) == 4
    assert len(counted) == 4
    uses = [use(60, address=bytes((203, 0, 113, n))) for n in range(100)]
    found = ports.take(look(*uses, entries=6000, complete=True), 0.0)
    assert len(found) == ADDRESSES


# -- what is listed --------------------------------------------------------------------------------

HEAD = "ipv4     2 tcp      6 431999 {} "
SENT = "src=10.0.0.2 dst=198.51.100.2 sport=5555 dport=443 "
LISTED = (
    HEAD + SENT + "src=198.51.100.2 dst=203.0.113.1 sport=443 dport={} [ASSURED] mark=0 {}use=2\n"
)
SIX = (
    "ipv6     10 udp      17 29 src=fd00:0000:0000:0000:0000:0000:0000:0002"
    " dst=2001:0db8:0000:0000:0000:0000:0000:0002 sport=5555 dport=53 [UNREPLIED]"
    " src=2001:0db8:0000:0000:0000:0000:0000:0002 dst=2001:0db8:0000:0000:0000:0000:0000:0001"
    " sport=53 dport=1500 mark=0 zone=0 use=2\n"
)


@pytest.fixture(name="listed")
def _listed(tmp_path):
    """Return what writes the file, and counts in it."""
    file = tmp_path / "net/nf_conntrack"
    file.parent.mkdir()

    def count(content, to=None, **more):
        file.write_text(content)
        source = (to or towards()).source
        counts = count_listed_ports(Paths(procfs=str(tmp_path)), {source: RANGE}, **more)
        found, number = counts.get(source, (to, 0))
        assert found == to or not to
        return number

    return count


def test_listed_flows_are_counted(listed):
    """Of the range, the zone and the destination, open ones; also where a read ends in a line."""
    one = LISTED.format("ESTABLISHED", 1000, "")
    others = (
        LISTED.format("ESTABLISHED", 2000, ""),
        LISTED.format("TIME_WAIT", 1001, ""),
        LISTED.format("ESTABLISHED", 1002, "zone=7 "),
        # It came from there.
        HEAD.format("ESTABLISHED")
        + "src=198.51.100.2 dst=203.0.113.1 sport=443 dport=1003 "
        + "src=203.0.113.1 dst=198.51.100.2 sport=1003 dport=443 [ASSURED] mark=0 use=2\n",
    )
    assert listed(one + "".join(others), towards()) == 1
    assert listed("".join(others)) == 0
    assert listed(one * 2000 + others[0] * 2000) == 2000
    v6 = [bytes.fromhex("20010db8" + "00" * 11 + last) for last in ("01", "02")]
    assert listed(SIX + one, Towards(Family.IPV6, 17, v6[0], v6[1], 53)) == 1


def test_what_is_not_listed_in_time_is_not_counted(listed, tmp_path):
    """Nor where there is no such file."""
    times = iter((0.0, 9.0))
    with pytest.raises(TimedOut):
        listed(LISTED.format("ESTABLISHED", 1000, ""), clock=lambda: next(times))
    with pytest.raises(NoData):
        count_listed_ports(Paths(procfs=str(tmp_path / "none")), {towards().source: RANGE})


def test_the_destination_with_the_most_flows_is_counted(listed):
    """Of few, and of more than are counted at a time, when it may lack one or two."""
    one = LISTED.format("ESTABLISHED", 1000, "")
    many = "".join(
        one.replace("198.51.100.2", f"198.{number >> 8}.{number & 255}.9") for number in range(9999)
    )
    assert listed(one * 3 + one.replace("sport=443", "sport=80") * 2, towards()) == 3
    assert 600 - 3 <= listed((one * 100 + many) * 6, towards()) <= 600


# -- the filtered dump -----------------------------------------------------------------------------


def ends(type_, source, destination, sport, dport):
    return nest(
        type_,
        nest(1, pack(1, source), pack(2, destination)),
        nest(2, pack(1, bytes([TCP])), pack(2, struct.pack(">H", sport)),
             pack(3, struct.pack(">H", dport))),
    )  # fmt: skip


def entry(port, state=3, server=SERVER):
    """Return an entry whose source port became `port`."""
    original = ends(1, bytes((10, 0, 0, 2)), server, 5555, 443)
    tcp = nest(4, nest(1, pack(1, bytes([state]))))
    rest = pack(3, bytes(4)) + pack(12, struct.pack(">I", port)) + pack(7, bytes(4))
    return nfgenmsg(2) + original + ends(2, server, ADDRESS, 443, port) + rest + tcp


def counted(*entries):
    script = Script([dumped(*entries), done()])
    return count_ports(Connection(script, 1e9, lambda: 0.0), towards(), RANGE), script


def test_entries_are_filtered_again():
    """No filter is trusted: not those of another port range, and not those that closed."""
    found, script = counted(
        entry(1000), entry(1999), entry(2000), entry(1500, state=7), entry(1501, state=8),
        entry(1002, server=bytes((192, 0, 2, 9))),
    )  # fmt: skip
    assert found == 2
    assert script.closed


def test_a_kernel_that_does_not_filter_is_noticed():
    """At the first entry, and nothing else is read."""
    with pytest.raises(Unsupported):
        counted(entry(1000, server=bytes((192, 0, 2, 9))), entry(1001))


def test_nothing_is_found_in_an_empty_answer():
    """All flows ended meanwhile."""
    assert counted()[0] == 0


# -- the range of the rules ------------------------------------------------------------------------

LOW, HIGH = (1024, 2047), (2048, 4095)


def target(ports=None, addresses=(1, 1), protocols=((0, 255),), **more):
    return SourceTarget(NatTarget(V4, addresses, ports, **more), protocols)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([], None),
        ([target(LOW)], LOW),
        ([target()], UNRESTRICTED),
        ([target(LOW, None)], LOW),
        ([target(LOW), target(HIGH, None)], LOW),
        ([target(LOW), target(HIGH)], None),
        ([target(LOW), target(HIGH, (2, 9))], LOW),
        ([target(LOW, (2, 9))], None),
        ([target(LOW), target(protocols=((1, 1),))], LOW),
        ([target(LOW), target(HIGH, protocols=((17, 17),))], LOW),
        ([target(LOW), target(known=False)], None),
        ([target(LOW), target(None, None, map="m")], None),
    ],
)
def test_the_range_is_that_of_the_rules(targets, expected):
    """Of those that name the address, and of the protocol; unknown where they differ."""
    facts = TranslationFacts(sources={V4: set(targets)})
    assert ports_of([TranslationFacts(), facts], V4, TCP, 1) == expected


def test_rules_that_were_not_read_leave_it_unknown():
    """Any of them may be for the address."""
    assert ports_of([TranslationFacts(sources={V4: None})], V4, TCP, 1) is None
