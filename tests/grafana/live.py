"""A fleet that is watched by a real Prometheus with the alert rules, and what breaks in it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple

import boards
import hosts as scene
from support import limit, prometheus
from support.namespace import Namespace
from support.router import Router

RULES = Path(__file__).parents[2] / "alerts" / "netfilter.rules.yml"
SCRAPE_SECONDS = 1

GATEWAY, EDGE, CONTAINERS, PLAIN, LOST, BLIND = "gw1", "edge1", "docker1", "db1", "old1", "nopriv1"
NAMES = (GATEWAY, EDGE, CONTAINERS, PLAIN, LOST, BLIND)

#: A namespace is all that a host of the test has.
ANYWHERE = {"network_namespace": "any", "flows": {"interval": 1}}
#: What a gateway's configuration asks for; the last of them is lost when it is broken.
WISHES = {
    **ANYWHERE,
    "nat": {"ipv4": "required"},
    "sysctls": {"net.ipv4.ip_forward": 1, "net.netfilter.nf_conntrack_acct": 1},
}
UPLINK = {"name": "uplink", "family": "ipv4", "action": "masquerade", "interface": "wan0"}


class Fleet(NamedTuple):
    """The hosts by name, the traffic between them, and what watches them."""

    hosts: dict[str, scene.Host]
    router: Router
    prometheus: prometheus.Prometheus
    watcher: Namespace

    def break_it(self) -> None:
        """Inject faults: one of each kind that a panel shows."""
        gateway = self.hosts[GATEWAY]
        gateway.load(scene.BROKEN_RULES)
        gateway.namespace.sh(
            "sysctl -q net.ipv4.conf.lan0.forwarding=0 net.netfilter.nf_conntrack_acct=0"
        )
        self.hosts[EDGE].namespace.run("nft", "flush", "ruleset")
        self.hosts[CONTAINERS].namespace.sh("sysctl -q net.ipv4.ip_forward=0")
        self.hosts[LOST].exporter.process.kill()


def quick_rules(folder: Path) -> Path:
    """Write the alert rules with short waits, as the thresholds in their comments allow.

    Groups are evaluated as Prometheus is set, but for what alerts read of history.
    """
    text = RULES.read_text(encoding="utf-8")
    text = re.sub(r"\d+(\)? *# threshold start_grace_seconds)", r"0\1", text)
    text = re.sub(r"for: \d+m$", "for: 2s", text, flags=re.MULTILINE)
    text = re.sub(r"^ *interval: \d+m\n", "", text, flags=re.MULTILINE)
    file = folder / "netfilter.rules.yml"
    file.write_text(text, encoding="utf-8")
    return file


def unprivileged() -> tuple[str, ...]:
    """Return what a command is to be started with to have no capability, as root by name."""
    return "setpriv", "--bounding-set=-all", "--inh-caps=-all"


@contextlib.contextmanager
def fleet(version: str, folder: Path, rules: Path) -> Iterator[Fleet]:
    """Yield a healthy fleet of six hosts; one may read next to nothing."""
    with limit.kept(), scene.watched(folder) as (hosts, router):
        wishes = {**WISHES, "expect": {"rules": [UPLINK]}}
        hosts.add(GATEWAY, "--collector.namespaces", namespace=router.router, config=wishes)
        hosts.add(EDGE, config=WISHES)
        hosts.add(CONTAINERS, config=ANYWHERE)
        hosts.add(PLAIN, config=ANYWHERE)
        hosts.add(LOST, config=ANYWHERE)
        hosts.add(BLIND, config=ANYWHERE, prefix=unprivileged())
        by_name = {host.name: host for host in hosts.all}
        by_name[GATEWAY].load(scene.GATEWAY_RULES)
        by_name[EDGE].load(scene.GATEWAY_RULES)
        by_name[CONTAINERS].load(scene.CONTAINER_RULES)
        by_name[EDGE].namespace.sh(
            "ip link add lan0 type bridge; ip link add wan0 type bridge;"
            " sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"
        )
        by_name[CONTAINERS].namespace.sh("sysctl -q net.ipv4.ip_forward=1")
        for name in (GATEWAY, EDGE):
            by_name[name].namespace.sh("sysctl -q net.netfilter.nf_conntrack_acct=1")
        by_name[PLAIN].namespace.sh("sysctl -q net.ipv4.ip_forward=0")
        config = configuration(hosts, rules)
        with prometheus.running(version, hosts.watcher, folder, config) as server:
            yield Fleet(by_name, router, server, hosts.watcher)


def configuration(hosts: scene.Hosts, rules: Path) -> dict[str, Any]:
    """Return the configuration of a Prometheus that scrapes and evaluates every second."""
    every = f"{SCRAPE_SECONDS}s"
    job = {"job_name": "netfilter", "static_configs": hosts.targets()}
    return {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": [str(rules)],
        "scrape_configs": [job],
    }


class Incident(NamedTuple):
    """What a Prometheus saw from `start` on: health, and then faults."""

    prometheus: prometheus.Prometheus
    start: float
    healthy_until: float
    end: float

    def asker(
        self, chosen: str, at: float | None = None
    ) -> Callable[[boards.Target], list[dict[str, Any]]]:
        """Return what asks a query with the variables filled in as Grafana does.

        It raises `prometheus.Refused` for warnings, too. `chosen` is the value of $instance.
        """
        end = at or self.end
        values = {**self.values(end), "$instance": chosen}

        def ask(target: boards.Target) -> list[dict[str, Any]]:
            expr = boards.interpolate(target.expr, values)
            if target.instant:
                return self.prometheus.query(expr, time=end)
            return self.prometheus.query_range(expr, self.start, end, SCRAPE_SECONDS)

        return ask

    def values(self, end: float) -> dict[str, str]:
        """Return what Grafana's variables stand for, of all hosts."""
        return {
            "$__rate_interval": f"{4 * SCRAPE_SECONDS}s",
            "$__interval": f"{SCRAPE_SECONDS}s",
            "$__range": f"{end - self.start:.0f}s",
            "$job": ".+",
            "$instance": ".+",
        }

    def offered(self, query: str) -> list[str]:
        """Return the values of a variable, as Grafana asks for label_values(SELECTOR, LABEL)."""
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert match, query
        selector = boards.interpolate(match[1], {"$job": ".+"})
        times = {"start": self.start, "end": self.end}
        path = f"label/{match[2]}/values"
        found: list[str] = self.prometheus.ask(path, **{"match[]": selector}, **times)
        return found
