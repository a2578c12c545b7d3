"""Elements of an SVG picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from picture.look import TEXT

#: How wide a letter is on average, in parts of the size of the type.
_LETTER = 0.56


class Box(NamedTuple):
    """A part of the picture."""

    x: float
    y: float
    width: float
    height: float

    def inset(self, left: float, top: float, right: float, bottom: float) -> Box:
        """Return the box without a margin."""
        return Box(
            self.x + left, self.y + top, self.width - left - right, self.height - top - bottom
        )


def fitting(text: str, width: float, size: float) -> str:
    """Return as much of a text as has room."""
    room = int(width / (size * _LETTER))
    return text if len(text) <= room else text[: max(room - 1, 0)] + ("…" if room > 0 else "")


def wide(text: str, size: float) -> float:
    """Return about how wide a text is."""
    return len(text) * size * _LETTER


def words(  # noqa: PLR0913 -- the attributes of an element
    at: tuple[float, float],
    text: str,
    size: float,
    color: str = TEXT,
    *,
    anchor: str = "start",
    bold: bool = False,
) -> str:
    """Return a line of text."""
    weight = ' font-weight="600"' if bold else ""
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return (
        f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" font-size="{size:g}" fill="{color}"{where}{weight}>'
        f"{escape(text)}</text>"
    )


def rectangle(box: Box, color: str, *, round_: float = 0, border: str = "") -> str:
    """Return a filled rectangle."""
    edge = f' stroke="{border}"' if border else ""
    corner = f' rx="{round_:g}"' if round_ else ""
    return (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{max(box.width, 0):.1f}"'
        f' height="{max(box.height, 0):.1f}" fill="{color}"{corner}{edge}/>'
    )


def _corners(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield the points of a line without those within a level part of it."""
    for index, point in enumerate(points):
        around = {y for _, y in points[max(index - 1, 0) : index + 2]}
        if index in {0, len(points) - 1} or len(around) > 1:
            yield point


def line(
    points: Sequence[tuple[float, float]], color: str, *, dash: str = "", width: float = 1
) -> str:
    """Return a line through points."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in _corners(points))
    style = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width:g}"{style}/>'
    )


def area(points: Sequence[tuple[float, float]], color: str, opacity: float) -> str:
    """Return a filled shape."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in _corners(points))
    return f'<polygon points="{path}" fill="{color}" fill-opacity="{opacity:g}"/>'
