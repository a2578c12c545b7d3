"""The measurements, each of several things in turn, so that all meet the same noise."""

from __future__ import annotations

import contextlib
import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import machine
import worlds
from machine import Server

from support import debian

PORT, NODE_PORT = 9899, 9898


class Steady(NamedTuple):
    """Scrapes of one server: processor seconds of each round, and every latency."""

    cpu: list[float]
    latencies: list[float]


class First(NamedTuple):
    """The beginning of a process: the cost of the first reading, and the time to the first page."""

    reading: float
    kernel: float  #: the part of the reading that the kernel takes, whoever asks
    start: float
    start_cpu: float


class Kept(NamedTuple):
    """What a process holds."""

    resident: float
    descriptors: int
    threads: int


def exporter(name: str, *flags: str, port: int = PORT, tree: Path | None = None) -> Server:
    """Start the exporter in a namespace: this one, or that of `tree`."""
    listen = f"--web.listen-address=127.0.0.1:{port}"
    command = [sys.executable, "-m", "netfilter_exporter", "--log.level=error", listen, *flags]
    return Server(name, port, command, {"PYTHONPATH": str(tree)} if tree else {})


def looks(count: int, windows: int) -> dict[str, float]:
    """Return what looks.py measures at so many flows."""
    with machine.conntrack_limit(count * 3 // 2), machine.namespace("looks") as name:
        return _measured(name, str(count), str(windows))


def chosen(own: int, foreign: int, buckets: int) -> dict[str, float]:
    """Return what looks cost as the exporter takes them, beside flows of another namespace."""
    most = max(own, foreign) * 5 // 4 + 1
    with contextlib.ExitStack() as stack:
        stack.enter_context(machine.conntrack_limit(most))
        stack.enter_context(machine.hash_size(buckets))
        if foreign:
            stack.enter_context(worlds.flowing(foreign))
        return _measured(stack.enter_context(machine.namespace("looks")), "chosen", str(own))


def beside_looks(flows: int, rounds: int, scrapes: int) -> dict[str, Steady]:
    """Scrape an exporter that looks at so many flows, and one that seldom does."""
    with worlds.flowing(flows) as name:
        start = {
            "looks": functools.partial(exporter, name),
            "none": functools.partial(exporter, name, "--flows.interval=300", port=PORT + 100),
        }
        with all_of(start) as servers:
            return steady(servers, rounds, scrapes)


def nat_looks(name: str, *arguments: str) -> dict[str, float]:
    """Return what nat_looks.py measures in a namespace."""
    return _measured(name, *arguments, script="nat_looks.py")


def _measured(name: str, *arguments: str, script: str = "looks.py") -> dict[str, float]:
    path = str(Path(__file__).with_name(script))
    command = machine.within(name, sys.executable, path, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise machine.Failed(done.stderr[-400:])
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def node_exporters() -> Mapping[str, Path | str]:
    """Return the node_exporter of each Debian suite, or why it is missing."""
    return {suite: _fetch(suite) for suite in ("bookworm", "sid")}


def _fetch(suite: str) -> Path | str:
    try:
        tree = debian.fetch(suite, ["prometheus-node-exporter"])["prometheus-node-exporter"]
    except debian.UnavailableError as error:
        return str(error)
    return tree / "usr/bin/prometheus-node-exporter"


def node_exporter(name: str, program: Path) -> Server:
    """Start a node_exporter in a namespace, with what it collects by default."""
    return Server(
        name, NODE_PORT, [str(program), f"--web.listen-address=127.0.0.1:{NODE_PORT}"], {}
    )


def steady(servers: Mapping[str, Server], rounds: int, scrapes: int) -> dict[str, Steady]:
    """Scrape the servers in turn, `scrapes` times in each of `rounds`."""
    found: dict[str, Steady] = {name: Steady([], []) for name in servers}
    for server in servers.values():
        server.scrape()
        server.scrape()
    for _ in range(rounds):
        for name, server in servers.items():
            made = [server.scrape() for _ in range(scrapes)]
            found[name].cpu.append(statistics.mean(scrape.cpu for scrape in made))
            found[name].latencies.extend(scrape.seconds for scrape in made)
    return found


def first(name: str) -> First:
    """Start the exporter anew and scrape it; the first page alone reads the ruleset."""
    began = time.monotonic()
    with contextlib.closing(exporter(name)) as server:
        reading = server.scrape()
        seconds, cpu = time.monotonic() - began, server.cpu()
        again = statistics.median(server.scrape().cpu for _ in range(9))
    return First(reading.cpu - again, reading.kernel, seconds, cpu)


def in_turn(
    rounds: int, measured: Mapping[str, Callable[[], float | None]]
) -> dict[str, list[float]]:
    """Call each function in each round; one that gives None is left out."""
    found: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(rounds):
        for name, measure in measured.items():
            value = measure()
            if value is not None:
                found[name].append(value)
    return {name: values for name, values in found.items() if values}


def changing(name: str, backend: str, times: int) -> list[machine.Scrape]:
    """Change the ruleset before each scrape."""
    with contextlib.closing(exporter(name)) as server:
        server.scrape()
        made = []
        for _ in range(times):
            machine.run(*machine.within(name, *worlds.CHANGES[backend]))
            made.append(server.scrape())
    return made


def minute(servers: Mapping[str, Server], scrapes: int, spacing: float) -> dict[str, float]:
    """Return the processor seconds a minute of servers that are scraped every `spacing` seconds.

    What they read in the beginning, also next to the first scrapes, does not count.
    """
    for pause in (spacing, 0):
        for server in servers.values():
            server.scrape()
        time.sleep(pause)
    before = {name: server.cpu() for name, server in servers.items()}
    began = time.monotonic()
    for number in range(1, scrapes + 1):
        time.sleep(max(began + number * spacing - time.monotonic(), 0))
        for server in servers.values():
            server.scrape()
    minutes = (time.monotonic() - began) / 60
    return {name: (server.cpu() - before[name]) / minutes for name, server in servers.items()}


def kept(name: str, scrapes: int) -> tuple[Kept, Kept]:
    """Return what the exporter holds after 100 scrapes and after all."""
    with contextlib.closing(exporter(name)) as server:
        for _ in range(100):
            server.scrape()
        early = _kept(server)
        for _ in range(scrapes - 100):
            server.scrape()
        return early, _kept(server)


def _kept(server: Server) -> Kept:
    return Kept(server.resident(), server.descriptors(), server.threads())


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median of the ratios, round by round."""
    return statistics.median(a / b for a, b in zip(numerators, denominators))


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


@contextlib.contextmanager
def all_of(servers: Mapping[str, Callable[[], Server]]) -> Iterator[dict[str, Server]]:
    """Start servers, and end them."""
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(contextlib.closing(start()))
            for name, start in servers.items()
        }
