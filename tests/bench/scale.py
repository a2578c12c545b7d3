"""What rulesets of up to 200 000 rules cost, beside another version: a markdown table.

`--against FOLDER` names the `exporter/` of another checkout, measured in turn with this one. See
tests/bench/run. Root; everything happens in network namespaces that are gone afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import measures
import rows
import worlds
from rows import Row, row

from support import readme

OWN = Path(__file__).parents[2] / "exporter"
#: Backend and number of rules, and the most seconds and MB that they are to take.
WORLDS = (
    ("iptables-nft", 20, None, 45),
    ("iptables-nft", 20_000, None, 45),
    ("iptables-nft", 100_000, None, None),
    ("iptables-nft", 200_000, 10, 100),
    ("nft", 20_000, None, None),
    ("nft", 60_000, 10, None),
    ("legacy", 100_000, None, 80),
)
BUSY = "iptables-nft", 20_000
#: Seconds between two changes, and between two of so many scrapes meanwhile.
_EVERY, _SPACING, _SCRAPES = 0.5, 5.0, 12
#: Seconds after which a version is given up, and between two scrapes of one that has no rules yet.
_PATIENCE, _PAUSE = 60.0, 0.25
_STEADY = 20  #: scrapes of rules that are the same


class Start(NamedTuple):
    """From the start of a process until every collector is ok."""

    seconds: float  #: infinite: not in time
    page: float  #: seconds until the first page
    cpu: float
    peak: float  #: resident memory in MB
    steady: float  #: processor seconds of a scrape from then on


def started(name: str, tree: Path) -> Start:
    """Start an exporter of `tree`, and scrape it until every collector is ok."""
    began = time.monotonic()
    with contextlib.closing(measures.exporter(name, tree=tree)) as server:
        page = 0.0
        while failing := server.failing():
            page = page or time.monotonic() - began
            if time.monotonic() - began > _PATIENCE:
                break
            time.sleep(_PAUSE)
        seconds = time.monotonic() - began
        cpu = server.cpu()
        steady = statistics.median(server.scrape().cpu for _ in range(1 if failing else _STEADY))
        return Start(
            float("inf") if failing else seconds, page or seconds, cpu, server.peak(), steady
        )


class Busy(NamedTuple):
    """Scrapes while the rules change all the time, and a process takes a processor."""

    lost: int  #: scrapes without their rules
    longest: float
    cpu: float  #: seconds a scrape


def busy(name: str, tree: Path, backend: str) -> Busy:
    """Scrape beside changes and a busy processor."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(contextlib.closing(measures.exporter(name, tree=tree)))
        server.failing()
        hog = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
        stack.callback(hog.kill)
        stack.enter_context(worlds.changing(name, backend, _EVERY))
        cpu, lost, seconds = server.cpu(), 0, []
        for _ in range(_SCRAPES):
            began = time.monotonic()
            lost += bool(server.failing())
            seconds.append(time.monotonic() - began)
            time.sleep(max(began + _SPACING - time.monotonic(), 0))
        return Busy(lost, max(seconds), (server.cpu() - cpu) / _SCRAPES)


class Bench:
    """Measures this version, and the other one in turn with it."""

    def __init__(self, rounds: int, against: Path | None) -> None:
        self._rounds = rounds
        self._trees = [OWN, *([against] if against else [])]
        self._steady: dict[tuple[str, int], float] = {}

    def rows(self) -> Iterator[Row]:
        for backend, rules, seconds, memory in WORLDS:
            what = f"{rules} rules ({backend})"
            sys.stderr.write(f"==> {what}\n")
            with worlds.ruled(backend, rules) as name:
                found = [[] for _ in self._trees]
                for _ in range(self._rounds):
                    for tree, starts in zip(self._trees, found):
                        starts.append(started(name, tree))
                yield from self._of_start(what, found, seconds, memory)
                self._steady[backend, rules] = median(found[0], "steady")
                if (backend, rules) == BUSY:
                    yield from self._of_busy(what, [busy(name, t, backend) for t in self._trees])
        small, large = (self._steady["iptables-nft", rules] for rules in (20, 200_000))
        yield row("CPU of a scrape, 200000 / 20 rules (iptables-nft)", large / small, 1.2)

    def _of_start(
        self,
        what: str,
        found: Sequence[Sequence[Start]],
        seconds: float | None,
        memory: float | None,
    ) -> Iterator[Row]:
        own, *other = found
        yield row(
            f"start until every collector is ok, {what}", median(own, "seconds"), seconds, " s"
        )
        yield row("its first page", median(own, "page"), None, " s")
        yield row("its CPU", median(own, "cpu"), None, " s")
        yield row("its peak of resident memory", median(own, "peak"), memory, " MB")
        for starts in other:
            cells = (
                f"{median(starts, 'seconds'):.3g}, {median(starts, 'page'):.3g} s",
                f"{median(starts, 'cpu'):.3g} s",
                f"{median(starts, 'peak'):.3g} MB",
            )
            yield Row("the same of the other version", ", ".join(cells).replace("inf", "never"))

    def _of_busy(self, what: str, found: Sequence[Busy]) -> Iterator[Row]:
        own, *other = found
        scrapes = f"{_SCRAPES} scrapes without rules, two changes a second and a busy processor"
        yield row(f"{scrapes}, {what}", own.lost, 0, "")
        cells = f"{own.longest:.3g} s, {own.cpu * 1000:.0f} ms"
        yield Row("the longest of them, CPU of a scrape", cells)
        for each in other:
            cells = f"{each.lost}, {each.longest:.3g} s, {each.cpu * 1000:.0f} ms"
            yield Row("the same of the other version", cells)


def median(starts: Sequence[Start], field: str) -> float:
    return float(statistics.median(getattr(start, field) for start in starts))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="exporter/ of another checkout")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--readme", action="store_true", help="write it into README.md here")
    chosen = parser.parse_args(argv)
    if os.geteuid() != 0:
        parser.error("only root can make network namespaces")
    made = []
    for each in Bench(chosen.rounds, chosen.against).rows():
        sys.stderr.write(f"{each.what}: {each.value}\n")
        made.append(each)
    text = "\n".join([rows.machine(), "", *rows.markdown(made), ""])
    sys.stdout.write(text)
    if chosen.readme:
        readme.write("scale", f"\n{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
