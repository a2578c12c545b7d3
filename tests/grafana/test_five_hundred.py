"""Five hundred hosts: the fleet's dashboard stays a table of them, and few series beside."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import boards
import live
from support import needs, prometheus
from support.namespace import Namespace

GOLDEN = Path(__file__).parents[1] / "golden"
HOSTS, DOWN = 500, 5
#: Pages of recorded hosts, and which host of every hundred has each; the others are healthy.
FAULTS = {"rules-flushed": 7, "forward-off": 31, "nat-unreachable": 43}
SERIES_LIMIT = 64
#: A recorded host has no sample of its flow table.
NEW_FLOWS = "netfilter_flows_new_total"
NEW_FLOWS_OF_EACH = "".join(
    f'{NEW_FLOWS}{{family="ipv4",scope="outbound",translated="{how}",replied="{replied}"}} 7.0\n'
    for how in ("none", "source")
    for replied in ("no", "yes")
)
VERDICT = "job_instance_family:netfilter_nat_verdict:state"
PORT = 8000

pytestmark = [pytest.mark.e2e, pytest.mark.kernel, pytest.mark.timeout(300)]


def write_pages(folder):
    """Write the pages as they are served: files whose names say that they are text."""
    for state in ("nat-nft", *FAULTS):
        text = (GOLDEN / f"6.18-{state}.prom").read_text()
        text = text.replace("host_network_namespace 0.0", "host_network_namespace 1.0")
        text = text.replace("build_info{...}", 'build_info{version="0.1.0",pythonversion="3.11"}')
        if state == "forward-off":  # it never forwarded: only its role makes that a fault
            text += (
                '# TYPE netfilter_nat_expected gauge\nnetfilter_nat_expected{family="ipv4"} 1.0\n'
            )
        text += f"# TYPE {NEW_FLOWS} counter\n{NEW_FLOWS_OF_EACH}"
        (folder / f"{state}.txt").write_text(text)


def page_of(number):
    if number < DOWN:
        return "gone"
    return next((state for state, which in FAULTS.items() if number % 100 == which), "nat-nft")


def configuration(rules):
    targets = [
        {
            "targets": [f"127.0.0.1:{PORT}"],
            "labels": {"instance": f"h{n:03}", "__metrics_path__": f"/{page_of(n)}.txt"},
        }
        for n in range(HOSTS)
    ]
    return {
        "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "netfilter", "static_configs": targets}],
    }


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """A Prometheus with five hundred hosts, some of them broken, some of them gone."""
    folder = tmp_path_factory.mktemp("crowd")
    write_pages(folder)
    namespace = Namespace()
    serve = [sys.executable, "-m", "http.server", str(PORT), "--bind", "127.0.0.1"]
    server = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{namespace.name}", *serve],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    rules = live.quick_rules(folder)
    start = time.time()
    try:
        (folder / "gone.txt").write_text((folder / "nat-nft.txt").read_text())  # was there once
        with (
            needs.packages(),
            prometheus.running("2.42", namespace, folder, configuration(rules)) as asked,
        ):
            asked.wait_for(f"count(netfilter_exporter_build_info) == {HOSTS}")
            (folder / "gone.txt").unlink()
            asked.wait_for(f"count(up == 0) == {DOWN}")
            asked.wait_for('count(ALERTS{alertname="NetfilterNatForwardingDisabled"}) >= 5')
            asked.wait_for(f"count({VERDICT} == 6) == 5")  # groups of rules take turns
            time.sleep(6)
            yield live.Incident(asked, start, start, time.time())
    finally:
        server.kill()
        server.wait()
        namespace.close()


def test_no_query_of_the_fleet_has_many_series(crowd):
    """A row a host in the table of hosts, a few dozen series in all else."""
    ask = crowd.asker(".+")
    for target in boards.targets(boards.load("netfilter-fleet")):
        limit = HOSTS if target.owner == "Hosts" else SERIES_LIMIT
        assert len(ask(target)) <= limit, target


def test_no_query_of_the_fleet_reads_much(crowd):
    """At a moment, less than half of what one scrape of all hosts brought is looked at."""
    scraped = crowd.prometheus.query("sum(scrape_samples_scraped)", time=crowd.end)
    values = crowd.values(crowd.end)
    for target in boards.targets(boards.load("netfilter-fleet")):
        read = crowd.prometheus.cost(boards.interpolate(target.expr, values), crowd.end)
        assert 0 < read < float(scraped[0]["value"][1]) / 2, target
        read_once_left_out = target.expr.replace("[$__range] @ end()", "")
        assert "$__range" not in read_once_left_out, target


def test_every_host_has_its_row(crowd):
    """None is left out, also of those that are gone; the broken ones are as many as there are."""
    targets = [t for t in boards.targets(boards.load("netfilter-fleet")) if t.owner == "Hosts"]
    ask = crowd.asker(".+")
    state = {row["metric"]["instance"]: float(row["value"][1]) for row in ask(targets[0])}
    assert len(state) == HOSTS
    assert sum(value == 3 for value in state.values()) == DOWN
    idle = [n for n in range(DOWN, HOSTS) if page_of(n) == "forward-off"]
    assert all(state[f"h{n:03}"] == 4 for n in idle)
    verdict = {row["metric"]["instance"]: float(row["value"][1]) for row in ask(targets[1])}
    assert sum(value in {1, 3} for value in verdict.values()) > HOSTS * 0.9
    assert [name for name in verdict if verdict[name] == 6] == [f"h{n:03}" for n in idle]


def test_annotations_of_the_fleet_are_few(crowd):
    """One for each alert, not for each host that it fires on."""
    ask = crowd.asker(".+")
    for target in boards.annotations(boards.load("netfilter-fleet")):
        assert len(ask(target)) <= 20


def test_one_host_of_many(crowd):
    """The host's dashboard asks of its host alone."""
    ask = crowd.asker(boards.chosen(["h100"]))
    for target in boards.targets(boards.load("netfilter-host")):
        assert {row["metric"].get("instance") for row in ask(target)} <= {"h100"}, target
