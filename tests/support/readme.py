"""README.md, whose tables are made by commands and stand between markers."""

from __future__ import annotations

from pathlib import Path

PATH = Path(__file__).parents[2] / "README.md"


def embed(text: str, name: str, content: str) -> str:
    """Return `text` with `content` between the markers of `name`."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"no {begin.strip()} and {end}")
    return f"{before}{begin}{content}{end}{after}"


def write(name: str, content: str, path: Path = PATH) -> None:
    """Put `content` between the markers of `name` in README.md, or in another file."""
    path.write_text(embed(path.read_text(encoding="utf-8"), name, content), encoding="utf-8")
