"""Lines of the bench's table."""

from __future__ import annotations

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
