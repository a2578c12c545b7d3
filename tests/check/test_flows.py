"""check/flows.py: what new connections prove, and where addresses are shown."""

import dataclasses
import json

import pytest

from netfilter_exporter.check import command, context, flow_listing, flows
from netfilter_exporter.check.context import Context
from netfilter_exporter.check.flow_watch import FlowWatch, NewFlows
from netfilter_exporter.check.report import evaluate
from netfilter_exporter.config import model as config
from netfilter_exporter.flows.births import PATIENCE, Class, Replied
from netfilter_exporter.flows.observer import Sample
from netfilter_exporter.flows.ports import PortsInUse
from netfilter_exporter.flows.scope import Scope
from netfilter_exporter.kernel.conntrack.flow import Towards, Translated
from netfilter_exporter.kernel.errors import NoData, TimedOut
from netfilter_exporter.kernel.system import System
from netfilter_exporter.rules.families import Family
from support import checks
from support.host import FakeHost

REQUIRED = "nat: required\n"
LOST = Class(Family.IPV4, Scope.OUTBOUND, Translated.NONE, Replied.NO)
GOOD = Class(Family.IPV4, Scope.OUTBOUND, Translated.SOURCE, Replied.YES)


@pytest.fixture(scope="module", name="runs")
def _runs(tmp_path_factory):
    """A healthy host, scraped without a role and with one."""
    host = FakeHost("6.1/nat-legacy", str(tmp_path_factory.mktemp("host")))
    return {text: checks.scrape(host, text) for text in ("", REQUIRED)}


def found(run, **seen):
    """Return what is found of both alerts."""
    report = checks.report_on(run, flows=checks.new_flows(**seen))
    return {
        n: s for n, s in checks.names(report).items() if n in {"NatUntranslated", "NatUnanswered"}
    }


@pytest.mark.parametrize(
    ("why", "seen", "expected"),
    [
        ("all is well", {"translated": 148}, {}),
        ("nothing is translated", {"lost": 20}, {"NatUntranslated": "critical"}),
        ("most is not", {"lost": 30, "translated": 20}, {}),
        ("most is not, of most sources", {"lost": 30, "translated": 20, "good": 2},
         {"NatUntranslated": "critical"}),
        ("19 prove nothing", {"lost": 19}, {}),
        ("half is not most", {"lost": 20, "translated": 20}, {}),
        ("two sources are too few", {"lost": 100, "sources": 2}, {}),
        ("nothing replies", {"unanswered": 50}, {"NatUnanswered": "warning"}),
        ("49 prove nothing", {"unanswered": 49}, {}),
        ("one in twenty replies", {"unanswered": 95, "translated": 5, "good": 0}, {}),
        ("three sources are replied", {"unanswered": 1000, "translated": 3, "good": 3}, {}),
    ],
)  # fmt: skip
def test_the_conditions_are_those_of_the_alerts(runs, why, seen, expected):
    """At least so many connections, of so many sources, each of which weighs once."""
    assert found(runs[REQUIRED], **seen) == expected, why


@pytest.mark.parametrize(
    ("used", "severity"), [(700, None), (701, "warning"), (850, "warning"), (851, "critical")]
)
def test_ports_that_fill(runs, monkeypatch, used, severity):
    """As in the alert; the finding names the translated address, and no destination."""
    towards = Towards(Family.IPV4, 6, bytes((203, 0, 113, 1)), bytes((198, 51, 100, 2)), 443)
    use = PortsInUse(towards, used, (1000, 1999))
    monkeypatch.setattr(flows, "ports_in_use", lambda _: [use])
    report = checks.report_on(runs[REQUIRED], flows=checks.new_flows(translated=1))
    assert checks.names(report).get("NatPortsFilling") == severity
    if severity:
        evidence = checks.one(report, "NatPortsFilling").evidence
        assert evidence["address"] == "203.0.113.1"
        assert "198.51" not in str(evidence)


def test_without_a_role_it_may_be_usual(runs):
    """History decides, which the command does not have: a warning."""
    assert found(runs[""], lost=20) == {"NatUntranslated": "warning"}


def test_stateless_nat_is_not_judged(tmp_path, monkeypatch):
    """It needs no translating rule, and conntrack sees neither it nor the replies."""
    host = FakeHost("6.1/nat-legacy", str(tmp_path))
    lost = Class(Family.IPV6, Scope.OUTBOUND, Translated.NONE, Replied.NO)
    run = checks.scrape(host, "nat: {ipv6: required}\n")
    for stateless, expected in (((), {"NatUntranslated", "NatRulesGone"}), (Family, set())):
        monkeypatch.setattr(context, "stateless_nat", lambda _, of=stateless: frozenset(of))
        report = checks.report_on(run, flows=NewFlows({lost: 100}, {}, {lost: 10}))
        assert set(checks.names(report)) & {"NatUntranslated", "NatRulesGone"} == expected


def test_working_is_what_was_seen(runs):
    """The verdict counts translated connections and replies."""
    report = checks.report_on(runs[""], flows=checks.new_flows(translated=136, unanswered=12))
    assert report.verdict.startswith(
        "NAT works: 148 of 148 new outbound IPv4 connections translated, 92% answered."
    )
    assert report.proof.value == "observed"


def test_what_nothing_replies_to_is_not_called_working(runs):
    """One client alone raises no finding, and its connections show no NAT that works."""
    flows = checks.new_flows(translated=1, unanswered=99, sources=1)
    report = checks.report_on(runs[""], flows=flows)
    assert report.verdict == (
        "No fault found: IPv4 4 rules, tracking proven."
        " But 100 of 100 new outbound IPv4 connections translated, 1% answered."
    )
    assert report.exit_code == 0
    assert report.proof.value == "observed"
    assert evaluate(Context(runs[""], flows=flows), require_proof=True).exit_code == 3


def test_what_nothing_translates_is_said_first(runs):
    """One client alone raises no finding here either, and the first line tells of it."""
    report = checks.report_on(runs[""], flows=checks.new_flows(lost=40, sources=1))
    assert report.verdict == (
        "No fault found: IPv4 4 rules, tracking proven."
        " But 0 of 40 new outbound IPv4 connections translated, 0% answered, 40 neither."
    )
    assert report.proof.value == "configured"


def test_a_few_that_are_translated_prove_nothing_of_the_others(runs):
    """Too few sources for a finding, and too many untranslated connections to call it working."""
    report = checks.report_on(runs[""], flows=checks.new_flows(translated=1, lost=147, sources=2))
    assert report.proof.value == "configured"
    assert not report.verdict.startswith("NAT works")


@pytest.mark.parametrize(
    ("lost", "translated", "works"), [(20, 180, True), (21, 180, False), (19, 100, True)]
)
def test_what_works_for_most_only_is_said_to(runs, lost, translated, works):
    """A second uplink without a rule, or a firewall bridge that tracks packets before NAT does."""
    flows = checks.new_flows(lost=lost, translated=translated)
    report = checks.report_on(runs[""], flows=flows)
    assert report.verdict.startswith("NAT works") is works
    assert (f"answered, {lost} neither." in report.verdict) is not works
    strict = evaluate(Context(runs[""], None, flows), require_proof=True)
    assert strict.verdict.startswith("NAT works") is works


def test_connections_between_private_networks_are_counted(runs):
    """They are judged where the configuration says so."""
    flows = dataclasses.replace(checks.new_flows(translated=1), private=7)
    report = checks.report_on(runs[""], flows=flows)
    text = "7 new connections between private networks (set flows.outbound to judge them)"
    assert text in report.not_checked


def test_without_a_sample_nothing_is_claimed(runs):
    """The reason is told, and what would give one."""
    report = checks.report_on(runs[""], flows=NoData("no sample here"))
    assert report.proof.value == "configured"
    assert checks.untold(report, "NatUntranslated") == ["Unknown: no sample here"]
    (line,) = [line for line in report.not_checked if "translated" in line]
    assert "no sample here" in line
    assert "/etc/modules-load.d" in line


# -- the samples -------------------------------------------------------------------------------


class Sampler:
    """Plays samples; an error is raised."""

    def __init__(self, *samples):
        self._samples = list(samples)

    def look(self):
        self._now = self._samples.pop(0)

    def current(self):
        if isinstance(self._now, Exception):
            raise self._now
        return self._now


def sample(births=None, waiting=None):
    return Sample(0.0, 0.0, 0, {}, births or {}, waiting or {}, {}, {})


def watched(*samples):
    """Return what is new, and the seconds that were waited."""
    slept = []
    watch = FlowWatch(System(), config.Config(), slept.append)
    watch._sampler = Sampler(*samples)
    watch.begin()
    return watch.end(), slept


def test_replies_are_waited_for_where_most_seems_lost():
    """Connections of the last moments have no reply yet."""
    flows, slept = watched(
        sample({GOOD: 7.0}), sample({GOOD: 8.0}, {LOST: 20.0}), sample({GOOD: 9.0, LOST: 19.0})
    )
    assert (flows.births, slept) == ({GOOD: 2, LOST: 19}, [PATIENCE])


def test_where_all_is_well_nothing_is_waited_for():
    """What has no reply yet counts as translated or not."""
    waiting = LOST._replace(translated=Translated.SOURCE)
    flows, slept = watched(sample(), sample({GOOD: 30.0}, {waiting: 2.0}))
    assert slept == []
    assert flows.observed()[Family.IPV4] == (32, 32, 30, 0)


def test_replies_to_a_few_untranslated_connections_are_waited_for():
    """More than a tenth of all, and at least twenty: others are usual."""
    for waiting, patient in ((20, False), (24, True), (19, False)):
        good = {GOOD: 180.0 if waiting > 19 else 100.0}
        _, slept = watched(sample(), sample(good, {LOST: float(waiting)}), sample(good))
        assert bool(slept) is patient


def test_a_sample_that_fails_is_the_answer():
    """The first one, or the second."""
    assert isinstance(watched(NoData("x"), sample())[0], NoData)
    assert isinstance(watched(sample(), NoData("x"))[0], NoData)


# -- addresses ---------------------------------------------------------------------------------


def test_addresses_are_for_a_terminal_only(capsys):
    """Not for a pipe, a file, or JSON."""
    for flags in (["--flows"], ["--flows", "--json"]):
        assert command.main(flags) == 3
        assert "only on a terminal" in capsys.readouterr().err


def test_the_listing_names_sources_and_destinations(tmp_path):
    """States, private sources and destinations, with their share of the sample."""
    host = FakeHost("6.1/nat-nft", str(tmp_path))
    lines = "".join(
        f"ipv4     2 tcp      6 9 SYN_SENT src=10.0.0.{n} dst=198.51.100.2 sport=1 dport=2"
        f" [UNREPLIED] src=198.51.100.2 dst=10.0.0.{n} sport=2 dport=1 mark=0 zone=0 use=2\n"
        for n in (1, 2, 3)
    )
    host.path("proc/net/nf_conntrack").write_text(lines)
    host.path("proc/sys/net/netfilter/nf_conntrack_count").write_text("3\n")
    text = flow_listing.render(host.system, config.Config())
    assert "Flows: 3, of which 3 were sampled" in text
    assert "ipv4 tcp syn_sent" in text
    assert "10.0.0.2" in text
    assert "198.51.100.2" in text.split("Destination")[1]
    assert "and destination" not in text


def test_the_listing_does_without_routes(tmp_path, monkeypatch):
    """A busy kernel may answer too late; then the rest is listed."""

    def late(*_):
        raise TimedOut("RTM_GETROUTE: out of time")

    host = FakeHost("6.1/nat-nft", str(tmp_path))
    host.path("proc/net/nf_conntrack").write_text(
        "ipv4     2 tcp      6 9 SYN_SENT src=10.0.0.1 dst=198.51.100.2 sport=1 dport=2"
        " [UNREPLIED] src=198.51.100.2 dst=10.0.0.1 sport=2 dport=1 mark=0 zone=0 use=2\n"
    )
    host.path("proc/sys/net/netfilter/nf_conntrack_count").write_text("1\n")
    monkeypatch.setattr("netfilter_exporter.kernel.route.ask", late)
    text = flow_listing.render(host.system, config.Config())
    assert "198.51.100.2" in text.split("Destination")[1]
    assert "Neither translated nor answered: unknown: RTM_GETROUTE: out of time" in text


def test_the_listing_names_flows_that_share_ports(tmp_path):
    """By the translated address, and the destination with its port."""
    host = FakeHost("6.1/nat-nft", str(tmp_path))
    lines = "".join(
        f"ipv4     2 udp      17 9 src=10.0.0.2 dst=198.51.100.2 sport={n} dport=53"
        f" [UNREPLIED] src=198.51.100.2 dst=203.0.113.1 sport=53 dport={n} mark=0 zone=0 use=2\n"
        for n in (1, 2, 3)
    )
    host.path("proc/net/nf_conntrack").write_text(lines)
    host.path("proc/sys/net/netfilter/nf_conntrack_count").write_text("3\n")
    text = flow_listing.render(host.system, config.Config())
    assert "udp 203.0.113.1 198.51.100.2 53" in text.split("Translated to, and destination")[1]


@pytest.mark.parametrize(
    ("interfaces", "named"),
    [
        ({"lan0": True, "wan0": False}, ["wan0"]),
        ({"lan0": True, "wan0": True}, []),
        (dict.fromkeys(("a", "b", "c", "d"), False), []),  # too many: it is usual here
    ],
)
def test_interfaces_that_do_not_forward_are_named(runs, monkeypatch, interfaces, named):
    """Replies that arrive there are dropped."""
    closed = tuple(name for name, forwards in interfaces.items() if not forwards)
    monkeypatch.setattr(flows, "closed_interfaces", lambda _: closed)
    report = checks.report_on(runs[REQUIRED], flows=checks.new_flows(unanswered=60))
    remedy = checks.one(report, "NatUnanswered").remedy
    enabled = [line for line in remedy if line.startswith("sysctl -w")]
    assert enabled == [f"sysctl -w net.ipv4.conf.{name}.forwarding=1" for name in named]


def test_where_interfaces_cannot_be_read_the_finding_stays(runs, monkeypatch):
    """That no reply comes is known without them."""

    def late(_):
        raise TimedOut("RTM_GETNETCONF: out of time")

    monkeypatch.setattr(flows, "closed_interfaces", late)
    report = checks.report_on(runs[REQUIRED], flows=checks.new_flows(unanswered=60))
    assert checks.names(report)["NatUnanswered"] == "warning"


def test_no_report_has_an_address_of_a_flow(runs):
    """Neither its text nor its JSON: a finding has counts."""
    report = checks.report_on(runs[REQUIRED], flows=checks.new_flows(lost=30))
    evidence = checks.one(report, "NatUntranslated").evidence
    assert json.dumps(dict(evidence)) == (
        '{"family": "ipv4", "untranslated": 30, "judged": 30, "sources": 5}'
    )
