"""What a scrape costs with other network namespaces, and what the samples between scrapes cost.

    tests/bench/run --namespaces [--scrapes N]

With 0, 50 and 500 namespaces that have a process, next to node_exporter with what it collects by
default.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import machine
import measures
import worlds
from rows import Row, row

from netfilter_exporter.collectors.namespaces import COLLECTOR, LIMIT
from netfilter_exporter.exposition import Exposition
from netfilter_exporter.facts.namespaces import make_sampler
from netfilter_exporter.kernel.system import System
from netfilter_exporter.netns.sampler import INTERVAL
from support import debian

COUNTS = (0, 50, 500)
#: A scrape against node_exporter's, and the part of a CPU that samples may take.
TARGET, SHARE = 1.0, 0.005
LOOKS = 10


class Cost(NamedTuple):
    """Processor seconds."""

    ours: float  #: of a scrape
    theirs: float
    look: float  #: of a sample
    changed: float  #: of encoding the entries of all namespaces again


@contextlib.contextmanager
def inhabited(count: int) -> Iterator[None]:
    """Have so many network namespaces, each with a process and no interface but lo."""
    processes = [subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) for _ in range(count)]
    try:
        while count and machine_namespaces() < count:
            time.sleep(0.1)
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def machine_namespaces() -> int:
    """Return how many namespaces are seen."""
    sampler = make_sampler(System())
    sampler.look()
    return len(sampler.current().namespaces)


def cost(count: int, node: str, scrapes: int) -> Cost:
    """Measure with so many namespaces."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(inhabited(count))
        name = stack.enter_context(worlds.ruled("nft", 20))
        servers = {
            "ours": measures.exporter(name, "--collector.namespaces"),
            "theirs": measures.node_exporter(name, node),
        }
        for server in servers.values():
            stack.callback(server.close)
            server.scrape()  # it serves
        found = measures.steady(servers, 5, scrapes // 5)
        ours, theirs = (sum(each.cpu) / len(each.cpu) for each in found.values())
        sampler = make_sampler(System())
        began = time.process_time()
        for _ in range(LOOKS):
            sampler.look()
        look = (time.process_time() - began) / LOOKS
        return Cost(ours, theirs, look, encoded(count))


def encoded(count: int) -> float:
    """Return what it costs to encode the entries of so many namespaces, once they have changed."""
    (metric,) = (m for m in COLLECTOR.metrics if m.name == "netns_conntrack_entries")
    exposition = Exposition()
    began = time.process_time()
    for turn in range(LOOKS):
        samples = tuple(((str(4026532000 + n),), n + turn) for n in range(min(count, LIMIT)))
        exposition.render([(metric, samples)], machine.HEADERS["Accept"])
    return (time.process_time() - began) / LOOKS


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return 1 where a target does not hold."""
    parser = argparse.ArgumentParser(prog="tests/bench/run --namespaces")
    parser.add_argument("--scrapes", type=int, default=100, help="of each server")
    chosen = parser.parse_args(argv)
    try:
        program = debian.fetch("bookworm", ["prometheus-node-exporter"])
    except debian.UnavailableError as error:
        parser.error(str(error))
    node = program["prometheus-node-exporter"] / "usr/bin/prometheus-node-exporter"
    rows: list[Row] = []
    for count in COUNTS:
        found = cost(count, node, chosen.scrapes)
        ratio, share = found.ours / found.theirs, found.look / INTERVAL
        rows.append(row(f"CPU of a scrape / node_exporter's, {count} namespaces", ratio, TARGET))
        changed = (found.ours + found.changed) / found.theirs
        rows.append(row("the same, every number of entries is another", changed, TARGET))
        rows.append(row("samples, part of a CPU", 100 * share, 100 * SHARE, " %"))
    for each in rows:
        sys.stdout.write(f"{each.what}: {each.value} {each.target}\n")
    return int(not all(each.holds for each in rows))


if __name__ == "__main__":
    sys.exit(main())
