"""Documents with tables that are made by commands, and stand between markers."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
#: The document of each table.
PLACES = {
    "alerts": ROOT / "alerts/README.md",
    "bench": ROOT / "tests/bench/README.md",
    "hits": ROOT / "tests/kernel/README.md",
    "large": ROOT / "tests/bench/README.md",
    "matrix": ROOT / "tests/kernel/README.md",
    "metrics": ROOT / "exporter/METRICS.md",
    "outcome": ROOT / "tests/kernel/README.md",
    "programs": ROOT / "tests/programs/README.md",
    "silent": ROOT / "tests/kernel/README.md",
}


def embed(text: str, name: str, content: str) -> str:
    """Return `text` with `content` between the markers of `name`."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"no {begin.strip()} and {end}")
    return f"{before}{begin}{content}{end}{after}"


def is_current(name: str, content: str) -> bool:
    """Return whether the table of a name is `content`."""
    text = PLACES[name].read_text(encoding="utf-8")
    return embed(text, name, content) == text


def write(name: str, content: str) -> None:
    """Put `content` between the markers of `name`."""
    place = PLACES[name]
    place.write_text(embed(place.read_text(encoding="utf-8"), name, content), encoding="utf-8")
