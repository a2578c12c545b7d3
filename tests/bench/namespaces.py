"""What a scrape costs with other network namespaces, and what the samples between scrapes cost.

    tests/bench/run --namespaces [--scrapes N]

With 0, 50 and 500 namespaces that have a process, next to node_exporter with what it collects by
default; then with as many that have a name, a NAT rule and no process, through the helper.
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
from netfilter_exporter.netns.sampler import CPU_SHARE, INTERVAL
from netfilter_exporter.netns.selection import Selection
from support import debian
from support.netns_helper import UID, RunningHelper, running_helper

COUNTS = (0, 50, 500)
#: A scrape against node_exporter's, and the part of a CPU that samples may take.
TARGET, SHARE = 1.0, 0.005
LOOKS = 10
#: Seconds during which nobody scrapes, for what samples cost.
IDLE = 50
#: Of a namespace without a process: a rule of its own.
RULE = "table ip nat { chain post { type nat hook postrouting priority 100; masquerade; }; }"


class Cost(NamedTuple):
    """Processor seconds."""

    ours: float  #: of a scrape
    theirs: float
    look: float  #: of a sample
    changed: float  #: of encoding the entries of all namespaces again


class EnteredCost(NamedTuple):
    """What namespaces cost that the helper enters."""

    scrape: float  #: against node_exporter's
    exporter: float  #: part of a CPU between scrapes
    helper: float
    age: float  #: of a sample when the next one is there, in seconds
    memory: float  #: of the helper, resident, in MB


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


@contextlib.contextmanager
def named(count: int) -> Iterator[None]:
    """Have so many namespaces that have a name and a NAT rule, and no process."""
    with contextlib.ExitStack() as stack:
        for number in range(count):
            name = stack.enter_context(machine.namespace(str(number)))
            machine.run(*machine.within(name, "nft", RULE))
        yield


def entered_cost(count: int, node: str, scrapes: int) -> EnteredCost:
    """Measure with so many namespaces without a process."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(named(count))
        name = stack.enter_context(worlds.ruled("nft", 20))
        helper = stack.enter_context(running_helper())
        flags = (f"--netns.helper-socket={helper.path}", f"--netns.helper-user={UID}")
        servers = {
            "ours": measures.exporter(name, "--collector.namespaces", *flags),
            "theirs": measures.node_exporter(name, node),
        }
        for server in servers.values():
            stack.callback(server.close)
            server.scrape()  # it serves
        found = measures.steady(servers, 5, scrapes // 5)
        servers["ours"].close()
        ratio = measures.ratio(found["ours"].cpu, found["theirs"].cpu)
        alone = ("--collector.disable-defaults", "--collector.namespaces", *flags)
        ours, helpers = idle(name, helper, *alone)
        age = oldest(helper)
        return EnteredCost(
            ratio, ours, helpers, age, machine.memory_of(helper.process.pid, "VmRSS")
        )


def idle(name: str, helper: RunningHelper, *flags: str) -> tuple[float, float]:
    """Return the part of a CPU that the exporter and the helper take, in samples alone.

    From one sample, as often as there is one, to the same point behind another.
    """
    with contextlib.closing(measures.exporter(name, *flags)) as server:
        server.scrape()
        wait_for_sample(helper)  # it may be the first one, which sets no pace
        wait_for_sample(helper)
        began = time.monotonic()
        before = server.cpu(), machine.cpu_of(helper.process.pid)
        time.sleep(IDLE)
        wait_for_sample(helper)
        passed = time.monotonic() - began
        after = server.cpu(), machine.cpu_of(helper.process.pid)
    return (after[0] - before[0]) / passed, (after[1] - before[1]) / passed


def wait_for_sample(helper: RunningHelper) -> None:
    """Return shortly after the helper has worked for a sample, and is done with it."""
    before = machine.cpu_of(helper.process.pid)
    while machine.cpu_of(helper.process.pid) == before:
        time.sleep(0.2)
    while (now := machine.cpu_of(helper.process.pid)) != before:
        before = now
        time.sleep(1)


def oldest(helper: RunningHelper) -> float:
    """Return the seconds between two samples, and those that one takes."""
    sampler = make_sampler(System())
    sampler.select(Selection(), helper.client)
    sampler.look()  # reads the rules
    began, cpu = time.monotonic(), time.thread_time()
    for _ in range(LOOKS):
        sampler.look()
    passed, cpu = time.monotonic() - began, time.thread_time() - cpu
    cost = cpu / LOOKS + sampler.spent_by_others()
    return max(INTERVAL, cost / CPU_SHARE) + passed / LOOKS


def encoded(count: int) -> float:
    """Return what it costs to encode the entries of so many namespaces, once they have changed."""
    (metric,) = (m for m in COLLECTOR.metrics if m.name == "netns_conntrack_entries")
    exposition = Exposition()
    began = time.process_time()
    for turn in range(LOOKS):
        samples = tuple(((str(4026532000 + n),), n + turn) for n in range(min(count, LIMIT)))
        exposition.render([(metric, samples)], machine.HEADERS["Accept"])
    return (time.process_time() - began) / LOOKS


def entered_rows(count: int, found: EnteredCost) -> Iterator[Row]:
    """Yield the lines of what the helper enters."""
    yield row(f"CPU of a scrape / node_exporter's, {count} namespaces by helper", found.scrape)
    yield row("samples, the exporter's part of a CPU", 100 * found.exporter, unit=" %")
    yield row("samples, the helper's part of a CPU", 100 * found.helper, unit=" %")
    both = 100 * (found.exporter + found.helper)
    yield row("samples, part of a CPU", both, 100 * SHARE, " %")
    yield row("age of the oldest sample", found.age, unit=" s")
    yield row("memory of the helper, with this Python", found.memory, unit=" MB")


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
    for count in COUNTS:
        rows += entered_rows(count, entered_cost(count, node, chosen.scrapes))
    for each in rows:
        sys.stdout.write(f"{each.what}: {each.value} {each.target}\n")
    return int(not all(each.holds for each in rows))


if __name__ == "__main__":
    sys.exit(main())
