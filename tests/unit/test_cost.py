"""What a scrape may cost, told by what it does: asking again, opening, dumping, rendering."""

import collections
import contextlib
import dataclasses
import gc
import os
import threading

import pytest

from netfilter_exporter import collectors, exporter_metrics, exposition
from netfilter_exporter.collection import Gatherer, collect
from netfilter_exporter.collectors.base import PAGE_BUDGET, Collector, Metric
from netfilter_exporter.exporter_metrics import page_families
from netfilter_exporter.exposition import Exposition
from netfilter_exporter.facts.modules import kernel_modules
from netfilter_exporter.facts.snapshot import Host, Snapshot
from netfilter_exporter.kernel.addresses import RTM_GETADDR
from netfilter_exporter.kernel.errors import NoData, ReadError, Status
from netfilter_exporter.kernel.netlink.messages import HEADER, NLM_F_DUMP
from netfilter_exporter.kernel.nft import tables as nftables
from netfilter_exporter.kernel.nft.tables import Reading
from netfilter_exporter.kernel.nft.uapi import NFT_MSG_GETRULE
from netfilter_exporter.kernel.route import RTM_GETROUTE
from netfilter_exporter.kernel.xtables import tables as xtables
from netfilter_exporter.rules.families import BOTH
from netfilter_exporter.rules.model import Rule, Verdict
from netfilter_exporter.rules.reachability import analyze
from support.rules import MASQUERADE, jump, nat_table

#: With both backends, and with what the recorded kernels can tell.
HOSTS = ["4.9/both-backends", "5.10/both-backends", "6.18/both-backends", "7.2/both-backends"]
CTNETLINK = 1  # NFNL_SUBSYS_CTNETLINK
COLLECTORS = list(collectors.load().values())
DUMPS = {type_ for collector in COLLECTORS for type_ in collector.dumps}


class Watched:
    """A recorded host, and what its scrapes ask of it."""

    def __init__(self, fake, monkeypatch):
        self.asked = []  #: (type, flags) of netlink requests
        self.options = []  #: of getsockopt
        self.opened = []
        system = dataclasses.replace(fake.system, netlink=self._netlink, xtables=self._xtables)
        self._system = fake.system
        self.gatherer = Gatherer(Host(system))
        self.exposition = Exposition()
        real = os.open

        def opening(path, *arguments, **options):
            self.opened.append(str(path))
            return real(path, *arguments, **options)

        monkeypatch.setattr(os, "open", opening)

    def _netlink(self, protocol):
        transport = self._system.netlink(protocol)
        send = transport.send

        def sending(datagram):
            _, type_, flags, _, _ = HEADER.unpack_from(datagram)
            self.asked.append((type_, flags))
            send(datagram)

        transport.send = sending
        return transport

    def _xtables(self, family):
        double = self._system.xtables(family)
        get = double.get

        def getting(option, *arguments):
            self.options.append(option)
            return get(option, *arguments)

        double.get = getting
        return double

    def scrape(self):
        """Make a page; what was asked before is forgotten."""
        for record in (self.asked, self.options, self.opened):
            record.clear()
        families = page_families(self.gatherer.gather(COLLECTORS))
        return self.exposition.render(families, "")[0]


@pytest.fixture
def watch(fake_host, monkeypatch):
    """Return a function that makes a watched host."""
    made = []

    def make(name):
        made.append(Watched(fake_host(name), monkeypatch))
        return made[-1]

    yield make
    for watched in made:
        watched.gatherer.close()


def dumps(watched):
    return [type_ for type_, flags in watched.asked if flags & NLM_F_DUMP == NLM_F_DUMP]


@pytest.mark.parametrize("name", HOSTS)
def test_a_steady_scrape_lists_no_rules(watch, name, monkeypatch):
    """A ruleset that has not changed is not dumped again, nor parsed: its generation is asked.

    Of a legacy table the size, and of a small one the entries, which are compared.
    """
    watched = watch(name)
    watched.scrape()
    assert NFT_MSG_GETRULE in dumps(watched)
    assert xtables.IPT_SO_GET_ENTRIES in watched.options
    monkeypatch.setattr(xtables, "parse_table", None)
    page = watched.scrape()
    assert set(dumps(watched)) <= DUMPS
    assert len(watched.asked) <= 20
    assert b'netfilter_scrape_collector_status{collector="nat",status="ok"} 1' in page


@pytest.mark.parametrize("name", HOSTS)
def test_flows_are_never_listed(watch, name):
    """Their number comes from a counter: no dump of the table, no file that lists it."""
    watched = watch(name)
    for _ in range(2):
        watched.scrape()
        assert not [type_ for type_ in dumps(watched) if type_ >> 8 == CTNETLINK]
        assert not [path for path in watched.opened if path.endswith("/net/nf_conntrack")]


@pytest.mark.parametrize("name", HOSTS)
def test_a_steady_scrape_opens_few_files(watch, name):
    """A bounded number, each once, none of the large lists of modules, and none left open."""
    watched = watch(name)
    watched.scrape()
    before = len(os.listdir("/proc/self/fd"))
    watched.scrape()
    most = collections.Counter(watched.opened).most_common(1)
    assert most[0][1] <= 2, most
    assert len(watched.opened) <= 90
    assert not [path for path in watched.opened if "/modules." in path or "config" in path]
    assert len(os.listdir("/proc/self/fd")) == before


def not_of_addresses(watched):
    """Return what was asked but for addresses, and the routes to them."""
    return [
        question for question in watched.asked if question[0] not in {RTM_GETADDR, RTM_GETROUTE}
    ]


def test_rules_and_flows_add_no_files(watch, fake_host, monkeypatch):
    """Ten thousand chains and a million flows are as many files and questions as a few."""
    watched = watch("6.18/nat-nft")
    watched.scrape()
    watched.scrape()
    # Addresses are asked for where a rule names one: a few questions, however many do.
    asked = not_of_addresses(watched)
    assert len(watched.asked) - len(asked) <= 8
    few = sorted(watched.opened), sorted(asked)
    users = {f"user{n}": [jump("mark"), MASQUERADE] for n in range(5000)}
    post = [jump(name)._replace(conditional=True) for name in users]
    table = nat_table(BOTH, post=post, mark=[Rule(verdict=Verdict.RETURN)], **users)
    monkeypatch.setattr(nftables, "read_generation", lambda _: 77)
    monkeypatch.setattr(
        nftables,
        "read_tables",
        lambda connect, *_: Reading(77, [table], True, connect(False).now(), True),
    )
    count = "proc/sys/net/netfilter/nf_conntrack_count"
    fake_host("6.18/nat-nft").path(count).write_text("1000000\n")
    limit = "proc/sys/net/netfilter/nf_conntrack_max"
    fake_host("6.18/nat-nft").path(limit).write_text("4000000\n")
    watched.scrape()
    page = watched.scrape()
    assert b'netfilter_nat_rules{action="masquerade",backend="nftables",family="ipv4"} 5000' in page
    assert b"netfilter_conntrack_entries 1e+06" in page
    asked = sorted(not_of_addresses(watched))
    generation = [question for question in few[1] if question[0] == nftables.NFT_MSG_GETGEN]
    assert (sorted(watched.opened), sorted(asked + generation)) == few


def test_what_has_not_changed_is_not_rendered_again(watch, monkeypatch):
    """Of two scrapes, the second encodes the families alone whose samples are others."""
    watched = watch("6.18/nat-nft")
    watched.scrape()
    rendered = []
    real = exposition._client_metric

    def render(metric, samples):
        rendered.append(metric.name)
        return real(metric, samples)

    monkeypatch.setattr(exposition, "_client_metric", render)
    watched.scrape()
    assert set(rendered) <= {"scrape_collector_duration_seconds"}


def test_scrapes_leave_no_threads(watch):
    """One thread collects, however many scrapes there were."""
    watched = watch("6.18/idle")
    watched.scrape()
    before = set(threading.enumerate())
    for _ in range(30):
        watched.scrape()
    assert set(threading.enumerate()) <= before


def test_chains_of_a_kind_are_asked_once():
    """A ruleset of ten thousand alike chains leaves facts of the size of a small one's."""
    users = {f"user{n}": [MASQUERADE] for n in range(10_000)}
    facts = analyze([nat_table(post=[jump(name) for name in users], **users)])
    (chains,) = facts.translations.values()
    assert len(chains) == 10_000
    assert len(facts.rules) + len(facts.chain_rules) + len(facts.unreachable) <= 8


ROWS_OF_FACTS = [row for collector in COLLECTORS for row in collector.metrics if row.of]


class Only:
    """The values of a snapshot of which only some facts may be read."""

    def __init__(self, snapshot, facts):
        self.values = self
        self._snapshot = snapshot
        self._facts = facts

    def __contains__(self, fact):
        return True

    def __getitem__(self, fact):
        assert fact in self._facts, fact
        return fact(self._snapshot)


@pytest.mark.parametrize("row", ROWS_OF_FACTS, ids=lambda row: row.name)
@pytest.mark.parametrize("name", HOSTS)
def test_a_row_reads_no_fact_but_those_it_names(fake_host, name, row):
    """Otherwise it would not be made again when that fact is another."""
    snapshot = Host(fake_host(name).system).snapshot(10)
    with contextlib.suppress(NoData):  # of what no host was recorded with
        list(row.samples(Only(snapshot, row.of)))


def test_what_has_not_changed_is_not_made_again(fake_host):
    """Samples stay the same object until a fact that they are made of is another."""
    fake = fake_host("6.1/nat-nft")
    host = Host(fake.system)

    def scrape():
        snapshot = host.snapshot(10)
        outcomes = [collect(collector, snapshot) for collector in COLLECTORS]
        return {row.name: samples for o in outcomes for row, samples in o.families if row.of}

    first, second = scrape(), scrape()
    assert [name for name in first if first[name] is not second[name]] == []
    fake.path("proc/sys/net/netfilter/nf_conntrack_max").write_text("4321\n")
    third = scrape()
    changed = [name for name in third if second[name] is not third[name]]
    assert changed == ["sysctl"]
    assert (("net.netfilter.nf_conntrack_max",), 4321) in third["sysctl"]


def test_a_row_that_failed_is_made_again(fake_host):
    """What was served beside an error is not kept: the error would be forgotten."""
    host = Host(fake_host("6.1/nat-nft").system)

    def samples(snapshot):
        yield (), kernel_modules(snapshot) is not None
        raise ReadError("the rest")

    row = Metric("some", "", source="", samples=samples, of=(kernel_modules,))
    for _ in range(2):
        outcome = collect(Collector("some", "", (row,)), host.snapshot(10))
        assert (outcome.families, outcome.status) == ([(row, (((), True),))], Status.ERROR)


@contextlib.contextmanager
def uncollected():
    """Yield a list that holds what only the garbage collector can free, at the end."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    found = []
    try:
        yield found
        gc.collect()
        found += gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("state", ["idle", "nat-legacy", "table-full"])
@pytest.mark.parametrize("kernel", ["4.9", "6.1", "7.2"])
def test_a_scrape_is_freed_at_its_end(watch, fake_host, monkeypatch, kernel, state):
    """An error that keeps its traceback keeps the frames, and so a ruleset, for minutes."""
    name = f"{kernel}/{state}"
    watched = watch(name)
    watched.scrape()
    watched.scrape()
    with uncollected() as found:
        watched.scrape()
        fake_host(name).drop_privilege(monkeypatch)
        watched.scrape()
    assert [each for each in found if isinstance(each, (Exception, Snapshot))] == []


def test_all_budgets_fit_on_a_page():
    """A NAT gateway's page is bounded: whoever wants more samples finds some to leave out."""
    budgets = {collector.name: collector.budget for collector in COLLECTORS}
    budgets["exporter_metrics.py"] = exporter_metrics.BUDGET
    total = sum(budgets.values())
    assert total <= PAGE_BUDGET, f"{total} samples: lower `budget=` in a collector: {budgets}"
