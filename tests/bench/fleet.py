"""What the rules cost Prometheus for many hosts, beside those of node-mixin for the same hosts.

    tests/bench/run --fleet --node-rules FILE [--hosts N] [--version V] [--against FILE]

FILE has the rules and alerts of node-mixin, as `jsonnet` renders them. Every host has the series of
a NAT gateway that the rules read, and those of this machine that node-mixin reads. What the rules
record as history is there for a day, all else for an hour, a sample a minute. The rules are then
evaluated ten times as often as their groups say, so that each group is evaluated while they are
measured; the cost is that of a minute in which Prometheus evaluates them as they say.

With --against FILE, the rules of another version are measured in turn with these, on the same
hosts.

A second row has node-mixin beside a server: what this machine has of a processor, a disk, a file
system and an interface is repeated, as many times as LARGE says.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import remote_write

from netfilter_exporter import assets
from support import debian, page, promstack
from support.answers import Evaluation, ask
from support.answers import seconds as seconds_of
from support.host import FakeHost

GATEWAY = "6.18/nat-legacy"
DAY, HOUR, MINUTE = 86_400, 3600, 60
#: So many times as often rules are evaluated, and as often the groups' durations are read.
FASTER = 10
EVALUATION = MINUTE // FASTER
#: So often two versions are measured, one after the other.
TURNS = 3
#: Rules as they are evaluated each minute, and what is recorded of a host each ten or thirty.
Rules = Mapping[str, Any]
_HISTORY = re.compile(r"\b\w+:\w+:\w+_each([13]0)m\b")
#: In a rule of history: how old its last sample must be, a little less than its interval.
_GUARD = re.compile(r"\[\d+m50s\]")
_NAME = re.compile(r"\b[a-zA-Z_]\w*\b")
_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
#: Series sent in one request.
_BATCH = 20_000


#: What makes the hosts healthy, as most of a fleet are: a pending alert costs as a firing one does.
_HEALTHY = {
    "netfilter_exporter_host_network_namespace": 1.0,
    "node_textfile_scrape_error": 0.0,
    "node_timex_sync_status": 1.0,
}
#: What a server has of each: how its series begin, and the label that names one.
LARGE = {
    "node_cpu_": ("cpu", 16),
    "node_disk_": ("device", 4),
    "node_filesystem_": ("mountpoint", 8),
    "node_network_": ("device", 6),
}


class Series(NamedTuple):
    """A series of each host, constant or rising."""

    labels: Mapping[str, str]
    value: float
    rate: float = 0.0  #: a second


class Cost(NamedTuple):
    """What rules take of a processor."""

    cpu: float  #: seconds of the process in a second, the writing of samples included
    made: float  #: the share of the evaluations that were due; one that is late is left out
    groups: Mapping[str, float]  #: seconds that an evaluation of each takes

    def beyond(self, idle: Cost) -> float:
        """Return the processor seconds that the rules take in a minute of theirs."""
        return (self.cpu - idle.cpu) * MINUTE / FASTER / self.made


def series_of(text: str, job: str, rules: Rules, age: float) -> list[Series]:
    """Return the series of a page that rules read; counters rise as in `age` seconds before it.

    Those that are 0, as of errors and drops, stay so.
    """
    expressions = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    read = set(_NAME.findall(expressions))
    found = [Series({"__name__": "up", "job": job}, 1)]
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line)
        if match and match[1] in read:
            name, value = match[1], float(match[3])
            labels = {"__name__": name, "job": job, **dict(_LABEL.findall(match[2] or ""))}
            rate = value / age if name.endswith("_total") else 0.0
            found.append(Series(labels, _HEALTHY.get(name, value), rate))
    return found


def history_of(gateway: Sequence[Series], rules: Rules, folder: Path) -> list[Series]:
    """Return what the rules record of a host each ten minutes, found by promtool in a day."""
    rules_of = itertools.chain.from_iterable(group["rules"] for group in rules["groups"])
    recorded = {rule["record"] for rule in rules_of if _HISTORY.fullmatch(rule.get("record", ""))}
    inputs = [
        {
            "series": _written({**each.labels, "instance": "h"}),
            "values": f"{each.value}+{60 * each.rate}x1500",
        }
        for each in gateway
    ]
    expression, day = 'last_over_time({__name__=~".*_each[13]0m"}[30m])', 24 * 60 * MINUTE
    kinds = ("-samples", "-days", "-history")  # each reads those before
    names = [group["name"] for group in rules["groups"]]
    groups = sorted(names, key=lambda name: [name.endswith(kind) for kind in kinds][::-1])
    how = Evaluation(MINUTE, 10 * MINUTE, order=groups, tool=promstack.promtool("3"))
    answers = ask(folder, rules, inputs, [(expression, day)], how)
    found = []
    for labels, value in answers.samples(expression, day):
        del labels["instance"]
        found.append(Series(labels, value))
    assert {each.labels["__name__"] for each in found} <= recorded
    assert found
    return found


def _minutes_of(series: Series) -> int:
    """Return how many minutes are between two samples of history."""
    match = _HISTORY.fullmatch(series.labels["__name__"])
    assert match
    return int(match[1])


def _written(labels: Mapping[str, str]) -> str:
    inside = ",".join(f"{k}={json.dumps(v)}" for k, v in labels.items() if k != "__name__")
    return f"{labels['__name__']}{{{inside}}}"


class Fleet:
    """Hosts that are alike, and the samples of all of them."""

    def __init__(self, hosts: int, url: str) -> None:
        self._hosts, self._url = hosts, f"{url}/api/v1/write"

    def encode(self, found: Sequence[Series]) -> list[tuple[bytes, Series]]:
        """Return the series of every host."""
        return [
            (remote_write.encoded_labels({**each.labels, "instance": f"host{number}"}), each)
            for number in range(self._hosts)
            for each in found
        ]

    def send(self, found: Sequence[tuple[bytes, Series]], times: Sequence[int]) -> None:
        """Send a sample of each series at each of `times`, in seconds."""
        encoded = functools.cache(
            lambda value, rate: remote_write.encoded_samples(_samples(value, rate, times))
        )
        for start in range(0, len(found), _BATCH):
            batch = found[start : start + _BATCH]
            remote_write.send(
                self._url,
                [
                    remote_write.series(labels, encoded(each.value, each.rate))
                    for labels, each in batch
                ],
            )


def _samples(value: float, rate: float, times: Sequence[int]) -> Iterator[tuple[int, float]]:
    """Yield milliseconds and values of a series of that value, or that rises."""
    return ((1000 * second, rate * second or value) for second in times)


@contextlib.contextmanager
def prometheus(version: str, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Prometheus that takes remote writes and evaluates what rules.yml says."""
    settings = {
        "global": {"evaluation_interval": f"{EVALUATION}s"},
        "rule_files": [str(folder / "active.json")],
    }
    (folder / "prometheus.yml").write_text(json.dumps(settings))
    activate(folder, {"groups": []})
    process = promstack.start(
        [
            promstack.prometheus(version),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-remote-write-receiver",
            "--web.enable-lifecycle",
        ],
        folder / "log",
    )
    try:
        yield process
    finally:
        promstack.stop(process)


def activate(folder: Path, rules: Rules) -> None:
    """Write the rules that the next reload activates."""
    groups = [
        {**group, "interval": promstack.faster(group.get("interval", "1m"), FASTER)}
        for group in rules["groups"]
    ]
    text = json.dumps({"groups": groups})
    text = _GUARD.sub(lambda guard: promstack.faster(guard[0], FASTER), text)
    (folder / "active.json").write_text(text)


def query(url: str, expression: str) -> list[dict[str, Any]]:
    """Return the result of an instant query."""
    with urllib.request.urlopen(
        f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expression})}", timeout=120
    ) as answer:
        result: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
    return result


def metric(url: str, name: str) -> dict[str, float]:
    """Return a metric of Prometheus itself, by rule group where it has one."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=120) as answer:
        text = answer.read().decode()
    found = {}
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line)
        if match and match[1] == name:
            group = dict(_LABEL.findall(match[2] or "")).get("rule_group", "")
            found[group.rpartition(";")[2]] = float(match[3])
    return found


def gateway(rules: Rules, folder: Path) -> list[Series]:
    """Return the series of a NAT gateway, with flows and a process."""
    text = page.make(FakeHost(GATEWAY, str(folder / "host"))).text
    flows = 'family="ipv4",scope="outbound"'
    more = [
        f"process_start_time_seconds {int(time.time()) - 2 * DAY}",
        'netfilter_exporter_host_info{machine="0123456789abcdef"} 1',
        f"netfilter_flow_births_sampled_total{{{flows}}} 1",
    ]
    for translated, replied in (("source", "yes"), ("source", "no"), ("none", "no")):
        labels = f'{flows},translated="{translated}",replied="{replied}"'
        more.append(f"netfilter_flows_new_total{{{labels}}} 1")
        more.append(f"netfilter_flow_birth_sources{{{labels}}} 5")
    return series_of("\n".join([text, *more]), "netfilter", rules, age=1.0)


def node(rules: Rules, folder: Path) -> list[Series]:
    """Return the series that the node_exporter of bookworm has of this machine."""
    name = "prometheus-node-exporter"
    program = debian.fetch("bookworm", [name])[name] / f"usr/bin/{name}"
    port = _free_port()
    process = promstack.start([program, f"--web.listen-address=127.0.0.1:{port}"], folder / "node")
    try:
        text = promstack.wait_for(lambda: _text(port), 30, "node_exporter answers")
        return series_of(text, "node", rules, age=time.clock_gettime(time.CLOCK_BOOTTIME))
    finally:
        promstack.stop(process)


def enlarged(found: Sequence[Series], job: str) -> list[Series]:
    """Return the series of a server's node_exporter: of each kind the first, repeated."""
    first: dict[str, str] = {}
    server = []
    for each in found:
        labels = {**each.labels, "job": job}
        kind = next((kind for kind in LARGE if labels["__name__"].startswith(kind)), None)
        if kind is None:
            server.append(each._replace(labels=labels))
            continue
        name, many = LARGE[kind]
        if labels[name] == first.setdefault(kind, labels[name]):
            server += (
                each._replace(labels={**labels, name: f"{labels[name]}{number}"})
                for number in range(many)
            )
    return server


def _of_job(rules: Rules, job: str) -> Rules:
    """Return the rules of node-mixin, which select a job, for another one."""
    text = json.dumps(rules)
    assert r"job=\"node\"" in text
    renamed: Rules = json.loads(text.replace(r"job=\"node\"", rf"job=\"{job}\""))
    return renamed


def _text(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
    except OSError:
        return ""
    return text


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def _reload(url: str) -> None:
    urllib.request.urlopen(urllib.request.Request(f"{url}/-/reload", b""), timeout=300).close()


def _period(group: Mapping[str, Any]) -> int:
    """Return the seconds between two evaluations of a group in this bench."""
    return seconds_of(group.get("interval", "1m")) // FASTER


class Bench:
    """A Prometheus with a day of a fleet."""

    def __init__(self, url: str, folder: Path, fleet: Fleet) -> None:
        self._url, self._folder, self._fleet = url, folder, fleet
        self._recent: list[tuple[bytes, Series]] = []
        self._sent = 0.0

    def fill(self, history: Sequence[Series], found: Sequence[Series]) -> None:
        """Send a day of history and an hour of all else, in the order of time."""
        now = int(time.time()) // MINUTE * MINUTE
        old, recent = self._fleet.encode(history), self._fleet.encode(found)
        for start in range(now - DAY, now, HOUR):
            for minutes in (10, 30):
                series = [each for each in old if _minutes_of(each[1]) == minutes]
                self._fleet.send(series, range(start, start + HOUR, minutes * MINUTE))
        for start in range(now - HOUR, now, 10 * MINUTE):
            self._fleet.send(recent, range(start, start + 10 * MINUTE, MINUTE))
        self._recent = recent
        promstack.wait_for(lambda: self._busy(5) < 0.1, 300, "the blocks of a day are written")

    def _busy(self, seconds: int) -> float:
        """Return the share of a processor that Prometheus takes for so many seconds."""
        before = self._state()[0]
        time.sleep(seconds)
        return (self._state()[0] - before) / seconds

    def cost(self, rules: Rules, seconds: int) -> Cost:
        """Return what `rules` cost, measured for `seconds` or until each group was evaluated."""
        seconds = max([seconds, *(_period(group) for group in rules["groups"])])
        activate(self._folder, rules)
        _reload(self._url)
        self._wait(2 * EVALUATION)
        before, started = self._state(), time.time()
        durations: dict[str, list[float]] = {}
        while time.time() < started + seconds:
            self._wait(EVALUATION)
            last = metric(self._url, "prometheus_rule_group_last_duration_seconds")
            for group, took in last.items():
                durations.setdefault(group, []).append(took)
        after, passed = self._state(), time.time() - started
        means = {group: statistics.fmean(took) for group, took in durations.items()}
        due = sum(took * (after[1][group] - before[1][group]) for group, took in means.items())
        missed = sum(
            took * (after[2].get(group, 0) - before[2].get(group, 0))
            for group, took in means.items()
        )
        return Cost((after[0] - before[0]) / passed, 1 - missed / due if due else 1.0, means)

    def _state(self) -> tuple[float, dict[str, float], dict[str, float]]:
        """Return processor seconds, and how many evaluations of each group were due and missed."""
        cpu = metric(self._url, "process_cpu_seconds_total")[""]
        due = metric(self._url, "prometheus_rule_group_iterations_total")
        return cpu, due, metric(self._url, "prometheus_rule_group_iterations_missed_total")

    def _wait(self, seconds: int) -> None:
        """Let time pass; each minute every series gets a sample."""
        end = time.time() + seconds
        if time.time() - self._sent >= MINUTE:
            self._sent = time.time()
            self._fleet.send(self._recent, [int(self._sent)])
        time.sleep(max(0.0, end - time.time()))


def boards(url: str, folder: Path) -> float:
    """Return how many seconds the queries of the fleet's board take, one after the other."""
    board = json.loads((folder / "grafana" / "netfilter-fleet.json").read_text())
    text = [t["expr"] for p in _panels(board) for t in p.get("targets", ()) if "expr" in t]
    started = time.monotonic()
    for expression in text:
        chosen = re.sub(r"\$(?:job|instance)\b", ".*", expression)
        query(url, re.sub(r"\$__(?:rate_interval|range|interval)", "5m", chosen))
    return time.monotonic() - started


def _panels(board: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for panel in board["panels"]:
        yield panel
        yield from _panels(panel) if "panels" in panel else ()


class Hosts(NamedTuple):
    """What each host has."""

    history: Sequence[Series]
    gateway: Sequence[Series]


def hosts_of(versions: Sequence[Rules], folder: Path) -> Hosts:
    """Return the series that any of the versions of the rules reads, or has recorded."""
    found: dict[str, list[Series]] = {"history": [], "gateway": []}
    for number, rules in enumerate(versions):
        place = folder / f"version{number}"
        place.mkdir()
        of_gateway = gateway(rules, place)
        found["gateway"] += of_gateway
        found["history"] += history_of(of_gateway, rules, place)
    return Hosts(*(_once(found[kind]) for kind in Hosts._fields))


def _once(found: Sequence[Series]) -> list[Series]:
    return list({_written(each.labels): each for each in found}.values())


def compare(bench: Bench, versions: Sequence[Rules], seconds: int) -> Cost:
    """Return what the first version costs; of two, print how much of the other's cost that is."""
    if len(versions) == 1:
        return bench.cost(versions[0], seconds)
    idle = bench.cost({"groups": []}, seconds)
    for _ in range(TURNS):
        costs = [bench.cost(rules, seconds) for rules in versions]
        ours, other = (cost.beyond(idle) for cost in costs)
        sys.stderr.write(f"{ours:.3f} s, {ours / other:.2f} of the other version's {other:.3f} s\n")
    return costs[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Print two lines of the table."""
    parser = argparse.ArgumentParser(prog="tests/bench/run --fleet")
    parser.add_argument("--node-rules", required=True, type=Path, help="node-mixin, as JSON")
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--version", choices=promstack.SUITES, default="3")
    parser.add_argument("--seconds", type=int, default=60, help="for which each is measured")
    parser.add_argument("--against", type=Path, help="the rules of another version")
    chosen = parser.parse_args(argv)
    versions = [assets.load_rules(assets.files()[assets.RULES])]
    if chosen.against:
        versions.append(assets.load_rules(chosen.against.read_bytes()))
    theirs = json.loads(chosen.node_rules.read_text())
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        hosts, of_node = hosts_of(versions, folder), node(theirs, folder)
        of_server = enlarged(of_node, "server")
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        stack.enter_context(prometheus(chosen.version, folder, port))
        promstack.wait_for(lambda: promstack.get(f"{url}/api/v1/status/buildinfo"), 60, "it is up")
        bench = Bench(url, folder, Fleet(chosen.hosts, url))
        bench.fill(hosts.history, [*hosts.gateway, *of_node, *of_server])
        idle, small, server = (
            bench.cost(rules, chosen.seconds)
            for rules in ({"groups": []}, theirs, _of_job(theirs, "server"))
        )
        netfilter = compare(bench, versions, chosen.seconds)
        board = boards(url, Path(assets.folder()))
    cpu = netfilter.beyond(idle)
    slowest = max(netfilter.groups, key=netfilter.groups.__getitem__)
    for group, took in sorted(netfilter.groups.items()):
        sys.stderr.write(f"{group}: {took:.2f} s\n")
    for beside, node_mixin in ((of_node, small), (of_server, server)):
        node_cpu = node_mixin.beyond(idle)
        sys.stdout.write(
            f"| {chosen.hosts} | {chosen.version} | {len(hosts.gateway)} | {len(beside)}"
            f" | {cpu:.2f} s | {node_cpu:.2f} s | {cpu / node_cpu:.1f}"
            f" | {slowest} {netfilter.groups[slowest]:.2f} s | {board:.2f} s |\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
