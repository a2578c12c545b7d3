"""Lines of the bench's table."""

from __future__ import annotations

import datetime as dt
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

TIMES = " \N{MULTIPLICATION SIGN}"


class Row(NamedTuple):
    """A line of the table."""

    what: str
    value: str
    target: str = ""
    holds: bool | None = None


def row(what: str, value: float, limit: float | None = None, unit: str = TIMES) -> Row:
    """Return the line of a number, which is not to be above `limit`."""
    target = "" if limit is None else f"≤ {limit:g}{unit}"
    text = f"{value:.3g}" if value < 1000 else f"{value:.0f}"
    return Row(what, text + unit, target, None if limit is None else value <= limit)


def markdown(rows: Iterable[Row]) -> list[str]:
    """Return the lines of a table."""
    marks = {None: "", True: "holds", False: "**does not hold**"}
    head = ["| what | measured | target | |", "|---|---|---|---|"]
    return head + [f"| {r.what} | {r.value} | {r.target} | {marks[r.holds]} |" for r in rows]


def machine() -> str:
    """Return when and where it was measured."""
    return (
        f"{dt.datetime.now(dt.timezone.utc):%Y-%m-%d}, Linux {platform.release()},"
        f" {os.cpu_count()} CPUs ({_cpu_name()}), Python {platform.python_version()}"
    )


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()
