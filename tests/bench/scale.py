"""What rulesets of up to 200 000 rules cost, beside another version: a markdown table.

`--against FOLDER` names the `exporter/` of another checkout, measured in turn with this one. See
tests/bench/run. Root; everything happens in network namespaces that are gone afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import measures
import worlds

HERE = Path(__file__).parent
OWN = HERE.parents[1] / "exporter"
SIZES = (20, 20_000, 100_000, 200_000)
#: Seconds between two changes, and between two of so many scrapes meanwhile.
_EVERY, _SPACING, _SCRAPES = 0.5, 5.0, 12
#: Seconds after which a version is given up, and between two scrapes of one that has no rules yet.
_PATIENCE, _PAUSE = 60.0, 0.25


STARTED = ("all collectors ok", "first page", "pages", "CPU", "peak")
BUSY = ("scrapes without rules", "longest", "CPU a change")


class Start(NamedTuple):
    """From the start of a process until every collector is ok."""

    seconds: float | None  #: None: not in time
    first_page: float
    pages: int
    cpu: float
    peak: float  #: resident memory in MB


def started(name: str, tree: Path) -> Start:
    """Start an exporter of `tree`, and scrape it until every collector is ok."""
    began = time.monotonic()
    with contextlib.closing(measures.exporter(name, tree=tree)) as server:
        first, pages, seconds = 0.0, 0, None
        while time.monotonic() - began < _PATIENCE:
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


def busy(name: str, tree: Path, backend: str) -> Busy:
    """Scrape beside changes and a busy processor."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(contextlib.closing(measures.exporter(name, tree=tree)))
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


def cells(start: Start) -> tuple[str, ...]:
    ok = f"not in {_PATIENCE:g} s" if start.seconds is None else f"{start.seconds:.2f} s"
    page = f"{start.first_page:.2f} s"
    return ok, page, str(start.pages), f"{start.cpu:.2f} s", f"{start.peak:.1f} MB"


def busy_cells(found: Busy) -> tuple[str, ...]:
    lost = f"{found.lost} of {found.scrapes}"
    return lost, f"{found.longest:.2f} s", f"{found.cpu * 1000:.0f} ms"


def say(*cells: str) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="exporter/ of another checkout")
    parser.add_argument("--backend", choices=worlds.BACKENDS, default="iptables-nft")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="RULES")
    parser.add_argument("--busy", action="store_true", help="scrape while rules change")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(argv)
    if os.geteuid() != 0:
        parser.error("only root can make network namespaces")
    trees = {"this": OWN, **({"the other": chosen.against} if chosen.against else {})}
    say("rules", "version", *(BUSY if chosen.busy else STARTED))
    say(*["---"] * (5 if chosen.busy else 7))
    for size in chosen.sizes:
        with worlds.ruled(chosen.backend, size) as name:
            for _ in range(chosen.rounds):
                for version, tree in trees.items():
                    measured = (
                        busy_cells(busy(name, tree, chosen.backend))
                        if chosen.busy
                        else cells(started(name, tree))
                    )
                    say(str(size), version, *measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
