"""flows/: what is outbound, what was born between two readings, and what became of it."""

import collections
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.flows.births import (
    PATIENCE,
    SOURCES_OF_ONE_DESTINATION,
    WINDOW,
    Birth,
    Class,
    Ledger,
    Replied,
)
from netfilter_exporter.flows.networks import PRIVATE, SPECIAL, Networks, Prefixes
from netfilter_exporter.flows.observer import Observer
from netfilter_exporter.flows.panel import LEAST_COMMON, Panel, compare, panel
from netfilter_exporter.flows.scope import Classifier, Routes, Scope
from netfilter_exporter.kernel.conntrack.flow import Flow, Kind, Reading, Translated
from netfilter_exporter.kernel.route import Route
from netfilter_exporter.rules.families import Family
from support.flows import packed

LAN, WAN, LO = 1, 2, 9


def flow(source="10.0.1.2", destination="203.0.113.2", *, replied=False, **fields):
    """Return a flow; TCP unless said otherwise."""
    family = Family.IPV6 if ":" in source else Family.IPV4
    state = fields.get("state", "established")
    kind = Kind(family, fields.get("protocol", "tcp"), state, offloaded=False, replied=replied)
    translated = fields.get("translated", Translated.NONE)
    return Flow(kind, packed(source), packed(destination), fields.get("port"), translated)


def gateway(address):
    """Answer for routes as a gateway with 10.0.1.0/24 and fd00:1::/64 behind it does."""
    text = str(ipaddress.ip_address(address))
    if text in {"10.0.1.1", "203.0.113.1", "192.168.7.1"}:
        return Route(local=True, interface=LO)
    if text.startswith(("10.0.1.", "fd00:1:")):
        return Route(local=False, interface=LAN)
    if text.startswith("192.0.2."):
        return None  # a blackhole
    return Route(local=False, interface=WAN)


# -- networks ----------------------------------------------------------------------------------


@given(address=st.ip_addresses())
def test_prefixes_hold_what_ipaddress_holds(address):
    """The fast test and the slow one agree."""
    networks = PRIVATE + SPECIAL
    slow = any(address.version == net.version and address in net for net in networks)
    assert (address.packed in Prefixes(networks)) == slow


@pytest.mark.parametrize(
    ("address", "private", "global_"),
    [
        ("10.0.0.1", True, False),
        ("172.31.255.255", True, False),
        ("172.32.0.1", False, True),
        ("192.168.0.1", True, False),
        ("100.64.0.1", True, False),
        ("100.128.0.1", False, True),
        ("192.0.0.5", True, False),
        ("192.0.0.9", False, False),
        ("240.10.0.1", True, False),
        ("254.255.255.255", True, False),
        ("255.0.0.1", False, False),
        ("fd12::1", True, False),
        ("169.254.1.1", False, False),
        ("127.0.0.1", False, False),
        ("224.0.0.251", False, False),
        ("255.255.255.255", False, False),
        ("198.18.0.1", False, False),
        ("0.0.0.0", False, False),
        ("fe80::1", False, False),
        ("ff02::fb", False, False),
        ("::1", False, False),
        ("::ffff:10.0.0.1", False, False),
        ("203.0.113.2", False, True),  # documentation counts as global
        ("2001:db8::1", False, True),
        ("64:ff9b::808:808", False, True),
        ("8.8.8.8", False, True),
    ],
)
def test_what_is_private_and_what_is_global(address, private, global_):
    """As the registries have it; no address is both."""
    classifier = Classifier()
    assert classifier.is_private(packed(address)) is private
    assert classifier.is_global(packed(address)) is global_


def test_configured_networks_override_the_registries():
    """A public network used inside is private, and a private one used outside is global."""
    networks = Networks(
        private=(ipaddress.ip_network("198.51.100.0/24"),),
        global_=(ipaddress.ip_network("10.99.0.0/16"),),
    )
    classifier = Classifier(networks)
    assert classifier.is_private(packed("198.51.100.7"))
    assert not classifier.is_global(packed("198.51.100.7"))
    assert classifier.is_global(packed("10.99.1.1"))
    assert not classifier.is_private(packed("10.99.1.1"))
    inside = flow("198.51.100.7", "10.99.1.1")
    answers = {inside.source: Route(local=False, interface=LAN)}
    routes = Routes(lambda a: answers.get(a, Route(local=False, interface=WAN)))
    found = classifier.scope(inside, routes)
    assert found is Scope.OUTBOUND


def test_overlaps_of_configured_networks_are_found():
    """No network can be private and global."""
    one, other = ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("10.9.0.0/16")
    six = ipaddress.ip_network("fd00::/8")
    assert list(Networks(private=(one, six), global_=(other,)).overlaps()) == [(one, other)]
    assert not list(Networks(private=(six,), global_=(other,)).overlaps())


# -- scope -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("why", "source", "destination", "expected"),
    [
        ("a client of the LAN", "10.0.1.2", "203.0.113.2", Scope.OUTBOUND),
        ("one with an ULA", "fd00:1::2", "2001:db8::2", Scope.OUTBOUND),
        ("own traffic", "10.0.1.1", "203.0.113.2", Scope.OTHER),
        ("own traffic from a private uplink", "192.168.7.1", "203.0.113.2", Scope.OTHER),
        ("a spoofed source, which routes back through the egress", "10.200.3.4", "203.0.113.2",
         Scope.OTHER),
        ("a leak from the WAN", "100.64.9.9", "203.0.113.2", Scope.OTHER),
        ("a SYN flood from outside", "203.0.113.77", "203.0.113.1", Scope.OTHER),
        ("a public client", "198.51.100.2", "203.0.113.2", Scope.OTHER),
        ("REDIRECT, answered by this host", "10.0.1.2", "10.0.1.1", Scope.OTHER),
        ("a transparent proxy on a public address of this host", "10.0.1.2", "203.0.113.1",
         Scope.OTHER),
        ("a destination without a route", "10.0.1.2", "192.0.2.1", Scope.OTHER),
        ("multicast", "10.0.1.2", "224.0.0.251", Scope.OTHER),
        ("broadcast", "10.0.1.2", "255.255.255.255", Scope.OTHER),
        ("link-local", "fe80::2", "2001:db8::2", Scope.OTHER),
        ("hairpin: DNAT back into the LAN", "10.0.1.2", "10.0.1.9", Scope.OTHER),
        ("site to site", "10.0.1.2", "192.168.50.2", Scope.PRIVATE),
        ("double NAT or a cluster's pods", "10.0.1.2", "10.244.3.3", Scope.PRIVATE),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)  # fmt: skip
def test_only_forwarded_flows_from_private_to_global_are_outbound(
    why, source, destination, expected
):
    """What a NAT that works may leave alone is not judged."""
    assert Classifier().scope(flow(source, destination), Routes(gateway)) is expected, why


def test_what_leaves_by_the_interface_it_came_from_is_not_judged():
    """A bridged virtual machine behind br_netfilter; unless it was translated here."""
    bridge = Routes(lambda _: Route(local=False, interface=LAN))
    assert Classifier().scope(flow(), bridge) is Scope.OTHER
    assert Classifier().scope(flow(translated=Translated.DESTINATION), bridge) is Scope.OTHER
    assert Classifier().scope(flow(translated=Translated.SOURCE), bridge) is Scope.OUTBOUND


def test_a_host_with_one_interface_has_no_other_way_back():
    """A NAT instance of a cloud; own traffic and what others send to it are not outbound."""

    def ask(address):
        return Route(local=address == packed("10.0.0.9"), interface=WAN)

    asked = []

    def is_only(family, interface):
        asked.append((family, interface))
        return True

    routes = Routes(ask, is_only)
    assert Classifier().scope(flow("10.0.1.2", "203.0.113.2"), routes) is Scope.OUTBOUND
    assert asked == [(Family.IPV4, WAN)]
    assert Classifier().scope(flow("10.0.0.9", "203.0.113.2"), routes) is Scope.OTHER
    assert Classifier().scope(flow("203.0.113.2", "10.0.0.9"), routes) is Scope.OTHER


def test_private_destinations_are_judged_where_configured():
    """`flows.outbound` names the networks between which NAT is expected."""
    networks = Networks(
        outbound_from=(ipaddress.ip_network("10.0.1.0/24"),),
        outbound_to=(ipaddress.ip_network("192.168.50.0/24"),),
    )
    classifier = Classifier(networks)
    assert classifier.scope(flow("10.0.1.2", "192.168.50.2"), Routes(gateway)) is Scope.OUTBOUND
    assert classifier.scope(flow("10.0.1.2", "192.168.51.2"), Routes(gateway)) is Scope.PRIVATE
    assert classifier.scope(flow("10.0.1.1", "192.168.50.2"), Routes(gateway)) is Scope.OTHER


def test_routes_are_asked_for_only_where_addresses_leave_it_open():
    """Other traffic costs no question."""

    def ask(address):
        pytest.fail(f"asked for {address!r}")

    assert Classifier().scope(flow("203.0.113.77", "203.0.113.1"), Routes(ask)) is Scope.OTHER


# -- panel -------------------------------------------------------------------------------------


def keys(*numbers):
    return [str(number).encode() for number in numbers]


def reading(found, *, complete=False, origin="ctnetlink", flows=None):
    """Return a reading of entries with these keys."""
    table = flows or {}
    census = collections.Counter(table[key].kind for key in found if key in table)
    return Reading(origin, found, census, lambda index: table[found[index]], complete)


def test_two_whole_tables_are_compared_as_a_whole():
    """A small table needs no entry in common."""
    before = Panel("ctnetlink", keys(1, 2), complete=True)
    change = compare(before, reading(keys(3, 2, 4), complete=True))
    assert (list(change.births), change.region, change.complete) == ([0, 2], 3, True)


def test_an_empty_table_has_no_source():
    """The first flows of a table that was empty are births, whichever source finds them."""
    before = Panel("", (), complete=True)
    change = compare(before, reading(keys(1), complete=True, origin="procfs"))
    assert list(change.births) == [0]


def test_samples_are_compared_up_to_the_last_that_both_hold():
    """What follows may have been beyond the end of the earlier one."""
    old = keys(*range(100))
    new = keys(*range(50), "b1", *range(50, 80), "b2", "b3", 99, "later", "too")
    change = compare(Panel("ctnetlink", old, complete=False), reading(new))
    assert [new[i] for i in change.births] == keys("b1", "b2", "b3")
    assert change.region == len(new) - 2


@pytest.mark.parametrize(
    ("why", "before", "after"),
    [
        ("a flood", keys(*range(100)), keys(*range(LEAST_COMMON - 1), *range(1000, 1100))),
        ("a resize", keys(*range(100)), keys(*reversed(range(100)))),
        ("nothing left", keys(*range(100)), ()),
    ],
)
def test_samples_that_cannot_be_compared_start_anew(why, before, after):
    """No birth is better than a wrong one."""
    found = compare(Panel("ctnetlink", before, complete=False), reading(list(after)))
    assert found is None, why


def test_another_source_starts_anew():
    """Entries are known by other keys there."""
    before = Panel("procfs", keys(*range(100)), complete=True)
    assert compare(before, reading(keys(*range(100)), complete=True)) is None


@given(
    alive=st.lists(st.integers(0, 400), unique=True, min_size=120),
    gone=st.sets(st.integers(0, 400)),
    born=st.sets(st.integers(1000, 1400)),
    sizes=st.tuples(st.integers(60, 300), st.integers(60, 300)),
)
def test_births_of_a_sample_are_births_of_the_table(alive, gone, born, sizes):
    """Whatever is sampled: no old entry is a birth, and every new one of the region is."""
    order = {number: hash((number, "bucket")) for number in {*alive, *born}}
    before = sorted(alive, key=order.get)[: sizes[0]]
    after = sorted({*alive, *born} - gone, key=order.get)[: sizes[1]]
    change = compare(Panel("p", keys(*before), complete=False), reading(keys(*after), origin="p"))
    if change is not None:
        found = {after[i] for i in change.births}
        assert found == {n for n in after[: change.region] if n in born}


# -- births ------------------------------------------------------------------------------------

OUT = Class(Family.IPV4, Scope.OUTBOUND, Translated.NONE, Replied.NO)


def judged(found, *, replied=False, gone=False, after=PATIENCE):
    """Return what becomes of one flow that was first seen unanswered."""
    ledger = Ledger()
    ledger.settle({}, 0.0)
    ledger.add(b"k", Birth(found, Scope.OUTBOUND, 1.0, 0.0))
    ledger.settle({} if gone else {b"k": replied}, after)
    return [class_.replied for class_ in ledger.estimated]


@pytest.mark.parametrize(
    ("why", "found", "expected"),
    [
        ("TCP", {"protocol": "tcp", "port": 7}, Replied.NO),
        ("a ping", {"protocol": "icmp"}, Replied.NO),
        ("DNS", {"protocol": "udp", "port": 53}, Replied.NO),
        ("NTP", {"protocol": "udp", "port": 123}, Replied.NO),
        ("QUIC", {"protocol": "udp", "port": 443}, Replied.NO),
        ("syslog needs no answer", {"protocol": "udp", "port": 514}, Replied.UNKNOWN),
        ("nor do tunnels", {"protocol": "other"}, Replied.UNKNOWN),
    ],
)
def test_a_flow_is_unanswered_if_its_protocol_needs_an_answer(why, found, expected):
    """One-way protocols prove nothing."""
    assert judged(flow(**found)) == [expected], why


def test_an_answer_may_be_under_way():
    """A flow is judged when it was seen for PATIENCE, not before."""
    assert judged(flow(), after=PATIENCE - 0.1) == []
    assert judged(flow(), replied=True, after=0.5) == [Replied.YES]
    assert judged(flow(), gone=True) == [Replied.UNKNOWN]
    assert judged(flow(replied=True), after=0.0) == [Replied.YES]


def test_an_answer_that_the_client_does_not_acknowledge():
    """It was seen here, and dropped here, as far as is known."""
    assert judged(flow(replied=True, state="syn_recv"), after=PATIENCE) == [Replied.NO]
    assert judged(flow(replied=True, state="syn_recv"), after=PATIENCE - 0.1) == []


def outbound(pairs, *, replied=False, translated=Translated.NONE, at=10.0):
    """Return a ledger of births between these (source, destination)."""
    ledger = Ledger()
    ledger.settle({}, at - PATIENCE)
    waiting = {}
    for number, (source, destination) in enumerate(pairs):
        found = flow(source, destination, replied=replied, translated=translated)
        key = str(number).encode()
        waiting[key] = replied
        ledger.add(key, Birth(found, Scope.OUTBOUND, 1.0, at - PATIENCE))
    ledger.settle(waiting, at)
    return ledger


def test_each_source_weighs_once():
    """A host that scans is one source, however many flows it makes."""
    ledger = outbound([("10.0.1.2", f"198.51.100.{n}") for n in range(1, 100)])
    assert ledger.sources() == {OUT: 1}
    assert ledger.estimated == {OUT: 99.0}
    assert ledger.sampled == {(Family.IPV4, Scope.OUTBOUND): 99}


def test_one_dead_destination_is_no_evidence():
    """Nor is a flood from forged neighbors to one victim."""
    ledger = outbound([(f"10.0.1.{n}", "198.51.100.9") for n in range(2, 100)])
    assert ledger.sources() == {OUT: SOURCES_OF_ONE_DESTINATION}


def test_an_outage_is_many_sources_to_many_destinations():
    """All of them count."""
    ledger = outbound([(f"10.0.1.{n}", f"198.51.100.{n}") for n in range(2, 12)])
    assert ledger.sources() == {OUT: 10}


def test_answered_sources_count_whatever_they_asked():
    """Where all hosts ask one resolver, and it answers, all of them prove that NAT works."""
    pairs = [(f"10.0.1.{n}", "198.51.100.53") for n in range(2, 12)]
    ledger = outbound(pairs, replied=True, translated=Translated.SOURCE)
    works = Class(Family.IPV4, Scope.OUTBOUND, Translated.SOURCE, Replied.YES)
    assert ledger.sources() == {works: 10}


def test_a_source_counts_by_its_latest_flow():
    """So that a fault shows at once, and its end too."""
    ledger = outbound([(f"10.0.1.{n}", f"198.51.100.{n}") for n in range(2, 12)])
    ledger.settle({}, 20.0)
    works = Class(Family.IPV4, Scope.OUTBOUND, Translated.SOURCE, Replied.YES)
    for n in range(2, 5):
        again = flow(f"10.0.1.{n}", translated=Translated.SOURCE, replied=True)
        ledger.add(b"again", Birth(again, Scope.OUTBOUND, 1.0, 20.0))
    assert ledger.sources() == {OUT: 7, works: 3}


def test_what_is_unknown_is_no_evidence():
    """Flows that ended early, and those that need no answer, are counted and not sampled."""
    ledger = Ledger()
    ledger.settle({}, 0.0)
    ledger.add(b"k", Birth(flow(), Scope.OUTBOUND, 1.0, 0.0))
    ledger.settle({}, PATIENCE)
    assert ledger.estimated == {OUT._replace(replied=Replied.UNKNOWN): 1.0}
    assert (ledger.sampled, ledger.sources()) == ({}, {})


def test_sources_are_forgotten():
    """They are those of the last two minutes."""
    ledger = outbound([("10.0.1.2", "198.51.100.1")], at=10.0)
    ledger.settle({}, 10.0 + WINDOW - 1)
    assert ledger.sources() == {OUT: 1}
    ledger.settle({}, 10.0 + WINDOW + 1)
    assert ledger.sources() == {}


# -- observer ----------------------------------------------------------------------------------


class Table:
    """A flow table with 4096 buckets, of which readings see the first ones."""

    def __init__(self, sampled):
        self.flows = {}
        self._sampled = sampled
        self.next = 0

    def open(self, number, **fields):
        for _ in range(number):
            key = f"{self.next}".encode()
            host = self.next % 200 + 2
            self.flows[key] = flow(f"10.0.1.{host}", f"198.51.100.{host}", **fields)
            self.next += 1

    def answer(self):
        for key, found in self.flows.items():
            self.flows[key] = found._replace(kind=found.kind._replace(replied=True))

    def read(self):
        order = sorted(self.flows, key=lambda key: hash((key, "bucket")))
        found = order[: self._sampled]
        return reading(found, complete=len(found) == len(order), flows=dict(self.flows))


def observed(table, observer, now):
    return observer.observe(table.read(), len(table.flows), Routes(gateway), now)


def test_births_of_a_small_table_are_exact():
    """Translated and answered, untranslated and unanswered: each is counted once."""
    table, observer = Table(1000), Observer(Networks())
    table.open(50, replied=True)
    assert observed(table, observer, 0.0).births == {}
    table.open(20, replied=True, translated=Translated.SOURCE)
    table.open(5)
    observed(table, observer, 15.0)
    found = observed(table, observer, 30.0)
    assert found.births == {
        OUT._replace(translated=Translated.SOURCE, replied=Replied.YES): 20.0,
        OUT: 5.0,
    }
    assert observed(table, observer, 45.0).births == found.births
    assert found.entries == 75
    assert sum(found.flows.values()) == 75


def test_old_flows_do_not_hide_new_ones():
    """NAT died, and most entries are still translated: only births are judged."""
    table, observer = Table(2000), Observer(Networks())
    table.open(20000, replied=True, translated=Translated.SOURCE)
    observed(table, observer, 0.0)
    table.open(1000)
    observed(table, observer, 15.0)
    found = observed(table, observer, 30.0)
    assert set(found.births) == {OUT}
    assert 500 < found.births[OUT] < 2000


def test_many_births_are_judged_in_part_and_counted_in_full():
    """A burst costs no more than a look may."""
    table, observer = Table(100000), Observer(Networks())
    observed(table, observer, 0.0)
    table.open(5000, replied=True)
    found = observed(table, observer, 15.0)
    assert sum(found.births.values()) == pytest.approx(5000)
    assert sum(found.sampled.values()) <= 256


def test_a_forgotten_panel_counts_no_births():
    """After a failed look everything may have changed."""
    table, observer = Table(1000), Observer(Networks())
    table.open(10)
    observed(table, observer, 0.0)
    observer.forget()
    table.open(10)
    assert observed(table, observer, 15.0).births == {}


def test_no_route_is_asked_for_twice_in_one_look():
    """A busy resolver costs one question."""
    asked = collections.Counter()

    def ask(address):
        asked[address] += 1
        return gateway(address)

    table, observer = Table(1000), Observer(Networks())
    observed(table, observer, 0.0)
    table.open(400, replied=True)
    observer.observe(table.read(), len(table.flows), Routes(ask), 15.0)
    assert set(asked.values()) == {1}


def test_the_panel_keeps_keys_only():
    """Flows of the last look are not kept."""
    kept = panel(reading(keys(1), flows={b"1": flow()}))
    assert kept == Panel("ctnetlink", keys(1), complete=False)
