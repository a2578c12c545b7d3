"""300 hosts of a cluster break at once, and one host of another: who is paged, and how often."""

import datetime as dt
import json
import socket
import sys
import time

import pytest

from netfilter_exporter import assets
from support import needs, promstack, rule_tests, webhook
from support.answers import Evaluation, ask

RULES = assets.render_rules(
    assets.load_rules(assets.files()[assets.RULES]), assets.Overrides(labels=("cluster",))
)
#: Hosts by cluster, and those of them that break.
HOSTS = {"west": (320, 300), "east": (20, 1)}
FAULT = 300  #: seconds
EVALUATION = 60
#: A group's wait of 30 seconds is one.
TIMES = 30
PAGE, OF_FLEET = "NetfilterConntrackTableFilling", "NetfilterFleetNatBroken"


def series():
    """Yield the table of each host, which is full on those that break."""
    for cluster, (count, broken) in HOSTS.items():
        for number in range(count):
            labels = f'cluster="{cluster}",job="netfilter",instance="{cluster}-{number}"'
            before, after = FAULT // EVALUATION - 1, 10
            full = 99 if number < broken else 5
            name = "netfilter_conntrack_entries"
            yield {"series": f"{name}{{{labels}}}", "values": f"5+0x{before} {full}+0x{after}"}
            yield {"series": f"{name}_limit{{{labels}}}", "values": f"100+0x{before + after + 1}"}


@pytest.fixture(scope="module")
def firing(tmp_path_factory):
    """What fires at each evaluation after the fault: minute -> (alert, cluster) -> how many."""
    asked = {"alert_rule_test": [{"alertname": PAGE}, {"alertname": OF_FLEET}]}
    rules = rule_tests.needed(RULES, asked)
    count = 'count by (alertname, cluster) (ALERTS{alertstate="firing",severity="critical"})'
    times = [FAULT + minute * EVALUATION for minute in range(4)]
    # What the fleet's page reads of the others is an evaluation old.
    order = [group["name"] for group in reversed(rules["groups"])]
    answers = ask(
        tmp_path_factory.mktemp("storm"),
        rules,
        series(),
        [(count, time) for time in times],
        Evaluation(EVALUATION, EVALUATION, order),
    )
    return [
        {(one["alertname"], one["cluster"]): found for one, found in answers.samples(count, time)}
        for time in times
    ]


def test_the_page_of_the_fleet_fires_with_those_of_its_hosts(firing):
    """Of the cluster in which many break, and at the latest when the first of their own does."""
    assert (PAGE, "west") not in firing[0]
    both = {(PAGE, "west"): 300, (PAGE, "east"): 1, (OF_FLEET, "west"): 1}
    assert firing[1] == firing[2] == both


@pytest.fixture
def alertmanager():
    """The command that starts it."""
    with needs.packages():
        return promstack.alertmanager()


@pytest.mark.e2e
@pytest.mark.timeout(120)
def test_a_storm_is_one_page(alertmanager, tmp_path):
    """The pager is told of the cluster once, and of the one host of the other, by two servers."""
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        port, pager = (free.getsockname()[1] for free in (a, b))
    text = assets.files()[assets.ALERTMANAGER].decode()
    text = promstack.faster(text.replace("127.0.0.1:9099", f"127.0.0.1:{pager}"), TIMES)
    (tmp_path / "config.yml").write_text(text)
    flags = [f"--config.file={tmp_path}/config.yml", f"--storage.path={tmp_path}/data"]
    flags += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    inbox = tmp_path / "inbox"
    processes = [
        promstack.start([sys.executable, str(webhook.__file__), str(pager), inbox], tmp_path / "w"),
        promstack.start([*alertmanager, *flags], tmp_path / "log"),
    ]
    url = f"http://127.0.0.1:{port}/api/v2/alerts"
    try:
        promstack.wait_for(lambda: promstack.get(url) is not None, 30, "Alertmanager is up")
        for _ in range(2):  # both servers of a pair
            promstack.post(url, list(_alerts()))
        promstack.wait_for(lambda: len(_told(inbox)) == 2, 30, "both pages are sent")
        time.sleep(5)  # two and a half minutes: another page would have come
        assert sorted(_told(inbox)) == sorted([(OF_FLEET, "west"), (PAGE, "east")])
    finally:
        for process in processes:
            promstack.stop(process)


def _alerts():
    now = dt.datetime.now(dt.timezone.utc).isoformat()
    shared = {"severity": "critical", "job": "netfilter"}
    of_fleet = {**shared, "alertname": OF_FLEET, "cluster": "west"}
    yield {"labels": of_fleet, "startsAt": now}
    for cluster, (_, broken) in HOSTS.items():
        for number in range(broken):
            host = {"alertname": PAGE, "cluster": cluster, "instance": f"{cluster}-{number}"}
            yield {"labels": {**shared, **host}, "startsAt": now}


def _told(inbox):
    """Return alert and cluster of each page that was sent."""
    lines = inbox.read_text().splitlines() if inbox.exists() else []
    bodies = [json.loads(line)[1] for line in lines]
    return [
        (alert["labels"]["alertname"], alert["labels"]["cluster"])
        for body in bodies
        for alert in body["alerts"]
    ]
