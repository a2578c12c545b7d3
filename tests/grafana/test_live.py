"""Real exporters, a real Prometheus, faults: every query of the dashboards has an answer."""

import time

import pytest

import boards
import hosts
import live
from support import needs, promstack

VERSIONS = ["2.42", "3"]
HEALTHY_SECONDS, BROKEN_SECONDS = 15, 10
ALERTS = {
    ("NetfilterNatRulesUnreachable", live.GATEWAY),
    ("NetfilterNatInterfaceMissing", live.GATEWAY),
    ("NetfilterNatInterfaceForwardingDisabled", live.GATEWAY),
    ("NetfilterSysctlNotApplied", live.GATEWAY),
    ("NetfilterNatForwardingDisabled", live.CONTAINERS),
    ("NetfilterConntrackDisabled", live.EDGE),
}

#: Panels that are empty without the helper for namespaces, which no host here runs.
WITH_HELPER = {("NAT rules of other namespaces", "A"), ("Number of other namespaces", "B")}

pytestmark = [pytest.mark.e2e, pytest.mark.kernel, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", params=VERSIONS)
def incident(request, tmp_path_factory):
    """A fleet whose hosts were healthy for a while, and then were broken."""
    folder = tmp_path_factory.mktemp(request.param)
    with needs.packages():
        promstack.prometheus(request.param)
    with live.fleet(request.param, folder, live.quick_rules(folder)) as fleet:
        hosts.router_traffic(fleet.router, seconds=240, per_second=20)
        fleet.prometheus.wait_for("count(netfilter_exporter_build_info) == 6")
        start = time.time()
        time.sleep(HEALTHY_SECONDS)
        healthy_until = time.time()
        fleet.break_it()
        for alert, name in ALERTS:
            matchers = f'alertname="{alert}",instance=~"{name}:.*",alertstate="firing"'
            fleet.prometheus.wait_for(f"ALERTS{{{matchers}}}")
        time.sleep(BROKEN_SECONDS)
        yield live.Incident(fleet.prometheus, start, healthy_until, time.time())


@pytest.fixture(params=boards.NAMES)
def asker(request, incident):
    """Each dashboard, and what asks its queries: of all hosts, or of one."""
    everything = request.param == "netfilter-fleet"
    chosen = ".+" if everything else boards.chosen([f"{live.GATEWAY}:{hosts.PORT}"])
    return boards.load(request.param), incident.asker(chosen)


def test_every_panel_has_an_answer(asker):
    """Each target of each panel: success, a series at least, not one warning."""
    board, ask = asker
    empty = {target[:2] for target in boards.targets(board) if not ask(target)}
    assert empty <= WITH_HELPER


def test_every_annotation_has_an_answer(asker):
    """Alerts and reloads were there, and are found."""
    board, ask = asker
    empty = [target.owner for target in boards.annotations(board) if not ask(target)]
    assert not empty


def test_every_variable_has_values(incident):
    """Job and Instance offer every host, also the one that is gone."""
    for name in boards.NAMES:
        offered = {
            variable: incident.offered(item["query"]["query"])
            for variable, item in boards.variables(boards.load(name)).items()
            if item["type"] == "query"
        }
        assert offered["job"] == ["netfilter"]
        assert offered["instance"] == sorted(f"{host}:{hosts.PORT}" for host in live.NAMES)


def column(incident, ref, at=None):
    """Return a column of the fleet's table, by host, in words where it has some."""
    (panel,) = (p for p in boards.panels(boards.load("netfilter-fleet")) if p["title"] == "Hosts")
    (target,) = (t for t in panel["targets"] if t["refId"] == ref)
    query = boards.Target("Hosts", ref, target["expr"], instant=True)
    words = boards.words(panel, f"Value #{ref}")
    rows = incident.asker(".+", at)(query)
    found = {row["metric"]["instance"].split(":")[0]: float(row["value"][1]) for row in rows}
    assert len(found) == len(rows), "two rows for a host"
    return {host: words.get(value, value) for host, value in found.items()}


def test_the_fleet_tells_who_is_broken(incident):
    """A row for each host, and the right word in it: of its state, and why."""
    assert column(incident, "A") == {
        live.GATEWAY: "warning",
        live.EDGE: "BROKEN",
        live.CONTAINERS: "BROKEN",
        live.LOST: "DOWN",
        live.PLAIN: "healthy",
        live.BLIND: "unknown",
    }
    assert column(incident, "B") == {
        live.GATEWAY: "see alerts",
        live.EDGE: "NOT TRACKED",
        live.CONTAINERS: "NOT FORWARDING",
        live.PLAIN: "not used",
        live.BLIND: "not readable",
    }


def test_a_host_that_is_down_has_no_zero(incident):
    """Its row has its state and its alert, and nothing that a 0 would call good."""
    for ref in "DEFGHK":
        assert live.LOST not in column(incident, ref)
    assert column(incident, "I")[live.LOST] == 1


def test_the_fleet_was_healthy_before(incident):
    """Nobody is called broken who is not."""
    before = column(incident, "A", incident.healthy_until - 1)
    assert before == {**dict.fromkeys(live.NAMES, "healthy"), live.BLIND: "unknown"}
    ipv4 = column(incident, "B", incident.healthy_until - 1)
    for name in (live.GATEWAY, live.EDGE, live.CONTAINERS):
        assert ipv4[name] == "OK"


def test_what_is_wrong_has_its_runbook(incident):
    """The table of the host names each alert that fires, since when, the worst first."""
    board = boards.load("netfilter-host")
    (target,) = (t for t in boards.targets(board) if t.owner == "What is wrong now")
    rows = incident.asker(boards.chosen([f"{live.GATEWAY}:{hosts.PORT}"]))(target)
    fired = {row["metric"]["alertname"] for row in rows if row["metric"]["alertstate"] == "firing"}
    assert {alert for alert, name in ALERTS if name == live.GATEWAY} <= fired
    orders = {row["metric"]["severity"]: row["metric"]["order"] for row in rows}
    assert {"warning": "2"}.items() <= orders.items()
    for row in rows:
        assert incident.start - 20 < float(row["value"][1]) / 1000 <= incident.end
