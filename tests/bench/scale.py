"""What rulesets of up to 200 000 rules cost, beside another version: a markdown table.

`--against FOLDER` names the `exporter/` of another checkout, measured in turn with this one. See
tests/bench/run. Root; everything happens in network namespaces that are gone afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import os
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
#: Seconds after which a version is given up, and between two scrapes of one that has no rules yet.
_PATIENCE, _PAUSE = 60.0, 0.25


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


def cells(start: Start) -> tuple[str, ...]:
    ok = f"not in {_PATIENCE:g} s" if start.seconds is None else f"{start.seconds:.2f} s"
    page = f"{start.first_page:.2f} s"
    return ok, page, str(start.pages), f"{start.cpu:.2f} s", f"{start.peak:.1f} MB"


def say(*cells: str) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="exporter/ of another checkout")
    parser.add_argument("--backend", choices=worlds.BACKENDS, default="iptables-nft")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="RULES")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(argv)
    if os.geteuid() != 0:
        parser.error("only root can make network namespaces")
    trees = {"this": OWN, **({"the other": chosen.against} if chosen.against else {})}
    say("rules", "version", "all collectors ok", "first page", "pages", "CPU", "peak")
    say(*["---"] * 7)
    for size in chosen.sizes:
        with worlds.ruled(chosen.backend, size) as name:
            for _ in range(chosen.rounds):
                for version, tree in trees.items():
                    say(str(size), version, *cells(started(name, tree)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
