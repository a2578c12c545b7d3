"""What rulesets of up to 200 000 rules cost, beside another version: a markdown table.

`--against FOLDER` names the `exporter/` of another checkout, measured in turn with this one, which
listens to all changes of nftables with `--listen`. See tests/bench/run. Root; everything happens in
network namespaces that are gone afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import machine
import measures
import worlds

HERE = Path(__file__).parent
OWN = HERE.parents[1] / "exporter"
SIZES = (20, 20_000, 100_000, 200_000)
#: Seconds between two changes, and between two of so many scrapes meanwhile.
_EVERY, _SPACING, _SCRAPES = 0.5, 5.0, 12
#: Seconds after which a version is given up, and between two scrapes of one that has no rules yet.
PATIENCE, _PAUSE = 60.0, 0.25


#: Changes that are measured one by one, and seconds between two looks at the host's memory.
_CHANGES, _LOOK = 9, 0.002
#: Scrapes of rules that do not change.
_STEADY = 100

STARTED = ("all collectors ok", "first page", "pages", "CPU", "peak")
BUSY = ("scrapes without rules", "longest", "CPU a change")
CHANGED = ("CPU of a full reading", "of a changed rule", "ratio", "resident")
RELOADED = ("kernel memory while the ruleset is replaced",)


class Start(NamedTuple):
    """From the start of a process until every collector is ok."""

    seconds: float | None  #: None: not in time
    first_page: float
    pages: int
    cpu: float
    peak: float  #: resident memory in MB


class Version(NamedTuple):
    """An exporter to measure."""

    tree: Path
    flags: tuple[str, ...] = ()

    def start(self, name: str) -> machine.Server:
        return measures.exporter(name, *self.flags, tree=self.tree)


def started(name: str, version: Version) -> Start:
    """Start an exporter, and scrape it until every collector is ok."""
    began = time.monotonic()
    with contextlib.closing(version.start(name)) as server:
        first, pages, seconds = 0.0, 0, None
        while time.monotonic() - began < PATIENCE:
            failing = server.failing()
            pages += 1
            first = first or time.monotonic() - began
            if not failing:
                seconds = time.monotonic() - began
                break
            time.sleep(_PAUSE)
        return Start(seconds, first, pages, server.cpu(), server.peak())


class Busy(NamedTuple):
    """Scrapes while the rules change all the time, and a process takes a processor."""

    scrapes: int
    lost: int  #: without their rules
    longest: float
    cpu: float  #: seconds a change


def busy(name: str, version: Version, backend: str) -> Busy:
    """Scrape beside changes and a busy processor."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(contextlib.closing(version.start(name)))
        server.failing()
        hog = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
        stack.callback(hog.kill)
        changes = stack.enter_context(worlds.changing(name, backend, _EVERY))
        before, cpu = changes.made, server.cpu()
        lost, seconds = 0, []
        for _ in range(_SCRAPES):
            began = time.monotonic()
            lost += bool(server.failing())
            seconds.append(time.monotonic() - began)
            time.sleep(max(began + _SPACING - time.monotonic(), 0))
        each = (server.cpu() - cpu) / (changes.made - before)
    return Busy(_SCRAPES, lost, max(seconds), each)


def first_reading(name: str, version: Version) -> float:
    """Return the CPU seconds of the first scrape, less what each scrape costs."""
    with contextlib.closing(version.start(name)) as server:
        server.page({}, "/-/healthy")  # its port is open before it has started
        return server.scrape().cpu - statistics.median(server.scrape().cpu for _ in range(_CHANGES))


def steady(name: str, version: Version) -> float:
    """Return the CPU seconds of a scrape of rules that do not change."""
    with contextlib.closing(version.start(name)) as server:
        server.failing()
        return statistics.median(server.scrape().cpu for _ in range(_STEADY))


class Changed(NamedTuple):
    """CPU seconds of the first reading, and of one after a rule was added; memory in MB."""

    full: float
    change: float
    resident: float


def changed(name: str, version: Version, backend: str) -> Changed:
    """Scrape after each of a few changes; what every scrape costs is taken off."""
    with contextlib.closing(version.start(name)) as server:
        full = server.scrape().cpu
        always = statistics.median(server.scrape().cpu for _ in range(_CHANGES))
        made = []
        for _ in range(_CHANGES):
            machine.run(*machine.within(name, *worlds.CHANGES[backend]))
            made.append(server.scrape().cpu)
        return Changed(full - always, statistics.median(made) - always, server.resident())


def reloaded(name: str, backend: str, rules: int) -> float:
    """Return by how many MB the kernel's memory grows at most while the ruleset is replaced."""
    make, load = worlds.BACKENDS[backend]
    text = f"flush ruleset\n{make(rules)}" if backend == "nft" else make(rules)
    before, ended = _unreclaimable(), threading.Event()
    peaks: list[float] = [before]

    def look() -> None:
        while not ended.wait(_LOOK):
            peaks[0] = max(peaks[0], _unreclaimable())

    thread = threading.Thread(target=look)
    thread.start()
    machine.run(*machine.within(name, *load), given=text)
    ended.set()
    thread.join()
    return peaks[0] - before


def _unreclaimable() -> float:
    """Return the kernel's own memory in MB: SUnreclaim of /proc/meminfo."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("SUnreclaim:"):
            return int(line.split()[1]) / 1024
    raise machine.Failed("no SUnreclaim in /proc/meminfo")


def reloaded_beside(name: str, version: Version, backend: str, rules: int) -> float:
    """Return the same beside an exporter, which listens from the first change on."""
    with contextlib.closing(version.start(name)) as server:
        server.scrape()
        machine.run(*machine.within(name, *worlds.CHANGES[backend]))
        server.scrape()
        return reloaded(name, backend, rules)


def cells(start: Start) -> tuple[str, ...]:
    ok = f"not in {PATIENCE:g} s" if start.seconds is None else f"{start.seconds:.2f} s"
    page = f"{start.first_page:.2f} s"
    return ok, page, str(start.pages), f"{start.cpu:.2f} s", f"{start.peak:.1f} MB"


def busy_cells(found: Busy) -> tuple[str, ...]:
    lost = f"{found.lost} of {found.scrapes}"
    return lost, f"{found.longest:.2f} s", f"{found.cpu * 1000:.0f} ms"


def changed_cells(found: Changed) -> tuple[str, ...]:
    times = f"{found.full * 1000:.0f} ms", f"{found.change * 1000:.0f} ms"
    return *times, f"{found.change / found.full:.2f}", f"{found.resident:.1f} MB"


def say(*cells: str) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="exporter/ of another checkout")
    parser.add_argument("--backend", choices=worlds.BACKENDS, default="iptables-nft")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="RULES")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--busy", action="store_true", help="scrape while rules change")
    kinds.add_argument("--changed", action="store_true", help="scrape after a rule has changed")
    kinds.add_argument("--reloaded", action="store_true", help="replace the rules: kernel memory")
    parser.add_argument("--listen", action="store_true", help="to changes, whatever the size")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(argv)
    if os.geteuid() != 0:
        parser.error("only root can make network namespaces")
    flags = (f"--nft.listen-max-rules={10**6}",) if chosen.listen else ()
    versions = {"this": Version(OWN, flags)}
    if chosen.against:
        versions["the other"] = Version(chosen.against)
    heads = _heads(chosen)
    say("rules", "version", *heads)
    say(*["---"] * (2 + len(heads)))
    for size in chosen.sizes:
        with worlds.ruled(chosen.backend, size) as name:
            for _ in range(chosen.rounds):
                if chosen.reloaded:
                    say(str(size), "none", f"{reloaded(name, chosen.backend, size):.1f} MB")
                for label, version in versions.items():
                    say(str(size), label, *_measured(chosen, name, version, size))
    return 0


def _heads(chosen: argparse.Namespace) -> tuple[str, ...]:
    if chosen.reloaded:
        return RELOADED
    return CHANGED if chosen.changed else BUSY if chosen.busy else STARTED


def _measured(
    chosen: argparse.Namespace, name: str, version: Version, rules: int
) -> tuple[str, ...]:
    if chosen.reloaded:
        return (f"{reloaded_beside(name, version, chosen.backend, rules):.1f} MB",)
    if chosen.changed:
        return changed_cells(changed(name, version, chosen.backend))
    if chosen.busy:
        return busy_cells(busy(name, version, chosen.backend))
    return cells(started(name, version))


if __name__ == "__main__":
    sys.exit(main())
