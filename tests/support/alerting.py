"""The way from a scrape to a person, made fast: Prometheus, Alertmanager and who gets paged."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from netfilter_exporter import assets
from support import promstack, webhook
from support.namespace import Namespace

#: A minute takes a second: 15 seconds between two scrapes are 250 ms.
TIMES = 60
INTERVAL = promstack.faster("15s", TIMES)


class Notice(NamedTuple):
    """An alert of a notification."""

    receiver: str  #: pager or tickets
    status: str  #: firing or resolved
    alert: str


class Stack(NamedTuple):
    """One version of Prometheus, its Alertmanager and what that has sent."""

    version: str
    inbox: Path
    port: int  #: of Prometheus

    def notices(self, skip: int = 0) -> set[Notice]:
        """Return what was sent, without the first `skip` notifications."""
        found = set()
        for line in self._lines()[skip:]:
            path, body = json.loads(line)
            for alert in body["alerts"]:
                name = alert["labels"]["alertname"]
                found.add(Notice(path.lstrip("/"), alert["status"], name))
        return found

    def sent(self) -> int:
        """Return how many notifications were sent."""
        return len(self._lines())

    def firing(self, namespace: Namespace) -> set[str]:
        """Return the names of the alerts that Prometheus holds to be firing."""
        url = f"http://127.0.0.1:{self.port}/api/v1/alerts"
        alerts = namespace.call(promstack.get, url)["data"]["alerts"]
        return {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}

    def _lines(self) -> list[str]:
        return self.inbox.read_text().splitlines() if self.inbox.exists() else []


@contextlib.contextmanager
def running(
    namespace: Namespace, versions: list[str], target: int, folder: Path
) -> Iterator[list[Stack]]:
    """Run a stack for each version in `namespace`, scraping the exporter at port `target`."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        stacks = []
        for number, version in enumerate(versions):
            place = folder / version
            place.mkdir()
            ports = (9090 + number, 9190 + number, 9290 + number)
            _configure(place, ports, target)
            stack = Stack(version, place / "inbox", ports[0])
            commands: list[list[str | Path]] = [
                [sys.executable, str(webhook.__file__), str(ports[2]), stack.inbox],
                [
                    *promstack.alertmanager(),
                    f"--config.file={place}/alertmanager.yml",
                    f"--storage.path={place}/alertmanager",
                    f"--web.listen-address=127.0.0.1:{ports[1]}",
                    "--cluster.listen-address=",
                ],
                [
                    promstack.prometheus(version),
                    f"--config.file={place}/prometheus.yml",
                    f"--storage.tsdb.path={place}/data",
                    f"--web.listen-address=127.0.0.1:{ports[0]}",
                    f"--query.lookback-delta={promstack.faster('5m', TIMES)}",
                    "--rules.alert.resend-delay=500ms",
                ],
            ]
            for name, command in zip(("webhook", "alertmanager", "prometheus"), commands):
                log = place / f"{name}.log"
                processes.append(promstack.start(command, log, namespace.name))
            stacks.append(stack)
        yield stacks
    finally:
        for process in processes:
            promstack.stop(process)


def _configure(place: Path, ports: tuple[int, int, int], target: int) -> None:
    rules = assets.load_rules(assets.files()[assets.RULES])
    grace = assets.thresholds(rules)["start_grace_seconds"] / TIMES
    rules = assets.render_rules(rules, assets.Overrides(thresholds={"start_grace_seconds": grace}))
    (place / "rules.yml").write_text(promstack.faster(yaml.safe_dump(rules), TIMES))
    example = assets.files()["alerts/alertmanager.example.yml"].decode()
    example = example.replace("127.0.0.1:9099", f"127.0.0.1:{ports[2]}")
    (place / "alertmanager.yml").write_text(promstack.faster(example, TIMES))
    settings = {
        "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL}
        | {"evaluation_interval": INTERVAL},
        "rule_files": ["rules.yml"],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{ports[1]}"]}]}]
        },
        "scrape_configs": [
            {
                "job_name": "netfilter",
                "static_configs": [{"targets": [f"127.0.0.1:{target}"]}],
            }
        ],
    }
    (place / "prometheus.yml").write_text(yaml.safe_dump(settings))


def minutes(count: float) -> float:
    """Return how many seconds `count` minutes of a stack take."""
    return count * 60 / TIMES


def sleep(count: float) -> None:
    """Let `count` minutes of a stack pass."""
    time.sleep(minutes(count))
