"""The Alertmanager example: routes as they are meant, and each row of inhibition in a real one."""

import contextlib
import datetime as dt
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from netfilter_exporter import assets
from support import inhibition, needs, promstack
from support.inhibition import Alert

FOLDER = Path(assets.folder(), "alerts")
EXAMPLE = FOLDER / "alertmanager.example.yml"
CONFIG = yaml.safe_load(EXAMPLE.read_text())
ALERTS = [
    Alert(rule["alert"], rule["labels"]["severity"])
    for rule in assets.rules_of(assets.load_rules((FOLDER / "netfilter.rules.yml").read_bytes()))
    if "alert" in rule
]


def _pairs():
    """Yield each source with each of its targets, as the rows of the file say."""
    for number, row in enumerate(inhibition.rows()):
        for source in ALERTS:
            for target in ALERTS:
                if row.inhibits(source, target):
                    yield number, source, target


PAIRS = sorted(set(_pairs()))
PAGES = [alert for alert in ALERTS if alert.severity == "critical"]


@pytest.fixture(scope="module")
def alertmanager():
    """The command that starts it."""
    with needs.packages():
        return promstack.alertmanager()


@pytest.fixture(scope="module")
def amtool():
    """Return a function that gives what amtool says."""
    with needs.packages():
        program = promstack.amtool()

    def run(*arguments):
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def suppressed(alertmanager, tmp_path_factory):
    """What a real Alertmanager holds back of all pairs: (instance, alert) -> whether."""
    folder = tmp_path_factory.mktemp("alertmanager")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "config.yml").write_text(EXAMPLE.read_text())
    process = promstack.start(
        [
            *alertmanager,
            f"--config.file={folder}/config.yml",
            f"--storage.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ],
        folder / "log",
    )
    url = f"http://127.0.0.1:{port}/api/v2/alerts"
    try:
        promstack.wait_for(lambda: promstack.get(url) is not None, 20, "Alertmanager is up")
        promstack.post(url, list(_posted()))
        promstack.wait_for(lambda: _states(url), 20, "all alerts have a state")
        # It learns of the sources by and by; what does not come the tests tell by name.
        with contextlib.suppress(AssertionError):
            promstack.wait_for(lambda: _all_held_back(_states(url)), 20, "targets are held back")
        yield _states(url)
    finally:
        promstack.stop(process)


def _posted():
    """Yield for each pair the target beside its source, and that of another host, and cluster.

    Each page is there beside NetfilterExporterDown, too.
    """
    for number, pair in enumerate(PAIRS):
        source, target = pair[1:]
        for instance, cluster, (name, severity) in (
            (f"both-{number}", "west", source),
            (f"both-{number}", "west", target),
            (f"apart-{number}", "west", target),
            (f"apart-{number}-other", "west", source),
            (f"elsewhere-{number}", "east", target),
            (f"elsewhere-{number}", "west", source),
        ):
            job = f"{instance.partition('-')[0]}-{number}"
            yield _fires(instance, name, severity, cluster=cluster, job=job)
    for name, severity in PAGES:
        flaps = f"flaps-{name}"
        yield _fires(flaps, name, severity, job=flaps)
        yield _fires(flaps, "NetfilterExporterDown", "warning", job=flaps)


def _fires(instance, name, severity, **more):
    labels = {"alertname": name, "severity": severity, "job": "n", "instance": instance, **more}
    return {"labels": labels, "startsAt": dt.datetime.now(dt.timezone.utc).isoformat()}


def _states(url):
    alerts = promstack.get(url) or []
    if not alerts or any(a["status"]["state"] == "unprocessed" for a in alerts):
        return None
    return {
        (a["labels"]["instance"], a["labels"]["alertname"], a["labels"]["severity"]): a["status"][
            "state"
        ]
        for a in alerts
    }


def _all_held_back(states):
    return states and all(
        states[(f"both-{number}", *target)] == "suppressed"
        for number, (_, _, target) in enumerate(PAIRS)
    )


@pytest.mark.e2e
def test_alertmanager_takes_the_example(amtool):
    """amtool finds nothing wrong with the file."""
    assert "SUCCESS" in amtool("check-config", str(EXAMPLE))


def test_amlint_finds_nothing():
    """Every route and inhibition is one that the rules can meet; only `nobody` is empty."""
    command = [Path(sys.executable).with_name("amlint"), "check", "--strict"]
    command += ["--ignore=empty-receiver", f"--rules={FOLDER / 'netfilter.rules.yml'}", EXAMPLE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "pager"), ("warning", "tickets"), ("info", "nobody")]
)
def test_severity_decides_who_is_told(amtool, severity, receiver):
    """Critical pages, a warning is a ticket, info is sent to nobody."""
    labels = [f"alertname={ALERTS[0][0]}", f"severity={severity}", "job=n", "instance=i"]
    routes = ["config", "routes", "test", f"--config.file={EXAMPLE}"]
    assert amtool(*routes, *labels).strip() == receiver


def _of_fleet(row):
    """Whether a row is about all hosts of a job."""
    return CONFIG["inhibit_rules"][row]["source_matchers"] == [
        'alertname="NetfilterFleetNatBroken"'
    ]


def test_every_row_names_alerts_that_exist():
    """Each row of inhibition has sources and targets among our alerts, on one host."""
    for number, row in enumerate(CONFIG["inhibit_rules"]):
        apart = {"cluster", "job"} if _of_fleet(number) else {"cluster", "job", "instance"}
        assert apart <= set(row["equal"])
        assert any(pair[0] == number for pair in PAIRS)
        for matcher in (*row["source_matchers"], *row["target_matchers"]):
            name, _, value = inhibition.split(matcher)
            if name == "alertname" and "+" not in value:
                assert set(value.split("|")) <= {alert for alert, _ in ALERTS}


def test_nothing_more_severe_is_held_back_by_less():
    """A warning never holds back a page."""
    ranks = ["info", "warning", "critical"]
    for _, source, target in PAIRS:
        assert ranks.index(source[1]) >= ranks.index(target[1]), (source, target)


def test_no_two_alerts_hold_back_each_other():
    """Of a pair that fires together one is always told."""
    found = {(source, target) for _, source, target in PAIRS}
    assert not found & {(target, source) for source, target in found}


@pytest.mark.e2e
@pytest.mark.parametrize("row", range(len(CONFIG["inhibit_rules"])))
def test_a_row_holds_back_on_the_same_target_alone(suppressed, row):
    """Each target is held back beside its source, not by that of another host or cluster.

    That of a fleet holds back those of all hosts.
    """
    apart = "suppressed" if _of_fleet(row) else "active"
    for number, (of_row, _, target) in enumerate(PAIRS):
        if of_row == row:
            assert suppressed[(f"both-{number}", *target)] == "suppressed", PAIRS[number]
            assert suppressed[(f"apart-{number}", *target)] == apart, PAIRS[number]
            assert suppressed[(f"elsewhere-{number}", *target)] == "active", PAIRS[number]


@pytest.mark.e2e
def test_a_page_is_told_of_a_target_that_flaps(suppressed):
    """NetfilterExporterDown holds back no page: what some scrapes see is seen."""
    for name, severity in PAGES:
        assert suppressed[(f"flaps-{name}", name, severity)] == "active", name


@pytest.mark.e2e
def test_a_source_is_told(suppressed):
    """What holds back others is itself told."""
    for number, (_, source, _) in enumerate(PAIRS):
        assert suppressed[(f"both-{number}", *source)] == "active", PAIRS[number]
