"""What the exporter costs, as ratios of one run: a markdown table.

See tests/bench/run. Root; everything happens in network namespaces that are gone afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import functools
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import looked
import machine
import measures
import worlds
from measures import percentile, ratio
from rows import TIMES, Row, row

from support import readme

LARGE = 20_000
#: What lists the rules of a backend.
LISTERS = {
    "nft": ("nft -j list ruleset",),
    "iptables-nft": ("iptables-nft-save -t nat", "nft -j list ruleset"),
    "legacy": ("iptables-legacy-save -t nat",),
}


class Plan(NamedTuple):
    """How much is done."""

    rounds: int  #: of 10 scrapes each
    readings: int
    changes: int
    scrapes: int  #: before memory is looked at
    spaced: int  #: scrapes at 15 s
    flows: int
    looks: looked.Plan = looked.FULL


FULL = Plan(rounds=20, readings=7, changes=100, scrapes=10_000, spaced=20, flows=1_000_000)
QUICK = Plan(rounds=20, readings=5, changes=30, scrapes=10_000, spaced=4, flows=1_000_000)


class Bench:
    """Measures, and collects rows."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._stack = contextlib.ExitStack()
        self._ruled: dict[tuple[str, int], str] = {}
        self.rows: list[Row] = []
        self.notes: list[str] = []

    def run(self) -> None:
        with self._stack:
            for backend in worlds.BACKENDS:
                for rules in (20, 2_000, LARGE):
                    say(f"{backend}: {rules} rules")
                    self._ruled[backend, rules] = self._enter(worlds.ruled(backend, rules))
            self._steady()
            for backend in worlds.BACKENDS:
                self._first(backend)
            for backend in worlds.BACKENDS:
                self._memory(backend)
            self._spaced()
            for backend in worlds.BACKENDS:
                self._changing(backend)
        # Once the other worlds are gone: their flows fill the same table.
        self.rows.extend(looked.rows(self._plan.looks))

    def _enter(self, world: contextlib.AbstractContextManager[str]) -> str:
        return self._stack.enter_context(world)

    def _add(self, what: str, value: float, limit: float | None = None, unit: str = TIMES) -> None:
        self.rows.append(row(what, value, limit, unit))

    # -- a scrape ------------------------------------------------------------------------------

    def _steady(self) -> None:
        say(f"making {self._plan.flows} flows")
        flows = {n: self._enter(worlds.flowing(n)) for n in (0, self._plan.flows)}
        folder = Path(self._enter(tempfile.TemporaryDirectory()))
        flags, origin = worlds.modular_host(folder)
        start: dict[str, Callable[[], machine.Server]] = {
            f"{backend} {rules}": functools.partial(measures.exporter, name)
            for (backend, rules), name in self._ruled.items()
        }
        start |= {f"flows {n}": functools.partial(measures.exporter, flows[n]) for n in flows}
        modular = self._enter(machine.namespace("modules"))
        start["modules"] = functools.partial(measures.exporter, modular, *flags)
        self.notes.append(f"Host with modules: {origin}.")
        for suite, program in measures.node_exporters().items():
            if isinstance(program, str):
                self.notes.append(f"node_exporter of {suite} left out: {program}")
            else:
                start[suite] = functools.partial(_node_exporter, self._enter, suite, program)
        say("scraping in turn")
        with measures.all_of(start) as servers:
            found = measures.steady(servers, self._plan.rounds, 10)
        self._steady_rows(found)
        counted = measures.in_turn(
            self._plan.readings,
            {"conntrack": lambda: machine.command_cpu(flows[self._plan.flows], "conntrack", "-C")},
        )
        for values in counted.values():
            scrape = statistics.median(found[f"flows {self._plan.flows}"].cpu)
            self._add("whole scrape / `conntrack -C`", scrape / statistics.median(values))

    def _steady_rows(self, found: Mapping[str, measures.Steady]) -> None:
        for suite in ("bookworm", "sid"):
            if suite in found:
                self._add(
                    f"CPU of a whole scrape / node_exporter's ({suite})",
                    ratio(found["nft 20"].cpu, found[suite].cpu),
                    0.5,
                )
                self._add(
                    f"the same, {LARGE} rules (iptables-nft)",
                    ratio(found[f"iptables-nft {LARGE}"].cpu, found[suite].cpu),
                    0.5,
                )
                self._add(
                    f"the same, with a Debian kernel's modules ({suite})",
                    ratio(found["modules"].cpu, found[suite].cpu),
                    0.5,
                )
        for backend in worlds.BACKENDS:
            for rules in (2_000, LARGE):
                self._add(
                    f"CPU of a scrape, {rules} / 20 rules ({backend})",
                    ratio(found[f"{backend} {rules}"].cpu, found[f"{backend} 20"].cpu),
                    1.2,
                )
        many = f"flows {self._plan.flows}"
        self._add(
            f"CPU of a scrape, {self._plan.flows} / 0 flows",
            ratio(found[many].cpu, found["flows 0"].cpu),
            1.2,
        )
        for name in ("nft 20", f"nft {LARGE}", many, "modules", "bookworm", "sid"):
            if name in found:
                half, most = (percentile(found[name].latencies, p) * 1000 for p in (50, 99))
                cpu = statistics.median(found[name].cpu) * 1000
                self.rows.append(
                    Row(f"{name}: CPU, latency p50, p99", f"{cpu:.2f}, {half:.2f}, {most:.2f} ms")
                )

    # -- readings ------------------------------------------------------------------------------

    def _first(self, backend: str) -> None:
        say(f"first readings: {backend}")
        name = self._ruled[backend, LARGE]
        firsts: list[measures.First] = []

        def reading() -> float:
            firsts.append(measures.first(name))
            return firsts[-1].reading

        listed: dict[str, Callable[[], float | None]] = {"reading": reading}
        for command in LISTERS[backend]:
            listed[command] = functools.partial(machine.command_cpu, name, *command.split())
        found = measures.in_turn(self._plan.readings, listed)
        kernel = [reading.kernel for reading in firsts]
        for command in LISTERS[backend]:
            if command in found:
                what = f"first reading of {LARGE} rules / `{command}` ({backend})"
                self._add(what, ratio(found["reading"], found[command]))
                self._add("the kernel's own listing / the same", ratio(kernel, found[command]))
        own = [whole - listing for whole, listing in zip(found["reading"], kernel)]
        self._add(f"the rest of it / the kernel's own listing ({backend})", ratio(own, kernel), 1.0)
        milliseconds = statistics.median(found["reading"]) * 1000
        what = f"first reading ({backend}): CPU, and the kernel's part of it"
        listing = statistics.median(kernel) * 1000
        self.rows.append(Row(what, f"{milliseconds:.0f}, {listing:.0f} ms"))
        start = statistics.median(f.start for f in firsts)
        cpu = statistics.median(f.start_cpu for f in firsts)
        self._add(f"start to first page, {LARGE} rules ({backend})", start, 0.5, " s")
        self.rows.append(Row(f"the same, CPU ({backend})", f"{cpu:.2f} s"))
        small = [measures.first(self._ruled[backend, 20]) for _ in range(self._plan.readings)]
        start = statistics.median(f.start for f in small)
        self._add(f"start to first page, 20 rules ({backend})", start, 0.5, " s")

    def _changing(self, backend: str) -> None:
        say(f"changing rulesets: {backend}")
        made = measures.changing(self._ruled[backend, LARGE], backend, self._plan.changes)
        cpu = statistics.median(scrape.cpu for scrape in made) * 1000
        self.rows.append(Row(f"CPU of a scrape after a change ({backend})", f"{cpu:.0f} ms"))
        for percent in (50, 99):
            value = percentile([scrape.seconds for scrape in made], percent) * 1000
            what = f"latency p{percent}, {LARGE} rules that change at every scrape ({backend})"
            self._add(what, value, 300, " ms")

    # -- what is held, and over time -----------------------------------------------------------

    def _memory(self, backend: str) -> None:
        say(f"memory: {backend}")
        early, late = measures.kept(self._ruled[backend, LARGE], self._plan.scrapes)
        self._add(
            f"resident after {self._plan.scrapes} scrapes ({backend})", late.resident, 47, " MB"
        )
        growth = late.resident - early.resident
        self._add(f"its growth since scrape 100 ({backend})", growth, 0.5, " MB")
        more = late.descriptors - early.descriptors
        self._add(f"descriptors opened and kept ({backend})", more, 0, "")
        self.rows.append(
            Row(f"descriptors, threads ({backend})", f"{late.descriptors}, {late.threads}")
        )

    def _spaced(self) -> None:
        say(f"{self._plan.spaced} scrapes at 15 s")
        start: dict[str, Callable[[], machine.Server]] = {
            backend: functools.partial(measures.exporter, self._ruled[backend, LARGE])
            for backend in worlds.BACKENDS
        }
        for suite, program in measures.node_exporters().items():
            if isinstance(program, Path):
                start[suite] = functools.partial(
                    _node_exporter, self._enter, f"{suite}-15", program
                )
        with measures.all_of(start) as servers:
            found = measures.minute(servers, self._plan.spaced, 15)
        for name, seconds in found.items():
            self.rows.append(Row(f"CPU a minute at 15 s ({name})", f"{seconds * 1000:.0f} ms"))


def _node_exporter(
    enter: Callable[[contextlib.AbstractContextManager[str]], str], suite: str, program: Path
) -> machine.Server:
    return measures.node_exporter(enter(machine.namespace(suite)), program)


def say(text: str) -> None:
    sys.stderr.write(f"==> {text}\n")


def table(bench: Bench, plan: Plan) -> str:
    """Return the rows as markdown."""
    about = (
        f"{dt.datetime.now(dt.timezone.utc):%Y-%m-%d}, Linux {platform.release()},"
        f" {os.cpu_count()} CPUs ({_cpu_name()}), Python {platform.python_version()};"
        f" {plan.rounds * 10} scrapes each. Ratios are medians of rounds in one run."
    )
    lines = [about, *bench.notes, ""]
    lines += ["| what | measured | target | |", "|---|---|---|---|"]
    marks = {None: "", True: "holds", False: "**does not hold**"}
    lines += [f"| {r.what} | {r.value} | {r.target} | {marks[r.holds]} |" for r in bench.rows]
    return "\n".join([*lines, ""])


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer scrapes")
    parser.add_argument("--readme", action="store_true", help="write it into README.md here")
    chosen = parser.parse_args(argv)
    if os.geteuid() != 0:
        parser.error("only root can make network namespaces")
    plan = QUICK if chosen.quick else FULL
    bench = Bench(plan)
    try:
        bench.run()
    except (machine.Failed, OSError) as error:
        say(f"failed: {error}")
        return 1
    finally:
        if bench.rows:
            text = table(bench, plan)
            sys.stdout.write(text)
            if chosen.readme:
                readme.write("bench", f"\n{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
