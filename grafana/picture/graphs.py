"""Panels with a time axis: lines, and bands of states."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from picture.ask import Series
from picture.look import DIM, GRID, PALETTE, PANEL, TEXT, Fields, color, number
from picture.svg import Box, area, fitting, line, rectangle, wide, words

_LEGEND = 10.0

Point = tuple[float, float]
Points = Sequence[Point]


class Mark(NamedTuple):
    """An annotation: a moment, and its colour."""

    at: float
    color: str


class Time(NamedTuple):
    """The time that is shown."""

    start: float
    end: float

    def x(self, box: Box, at: float) -> float:
        """Return where a moment is in a box."""
        return box.x + (at - self.start) / (self.end - self.start) * box.width

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Yield whole minutes, and what they are called."""
        span = self.end - self.start
        step = next((s for s in (15, 30, 60, 120, 300, 600, 1800, 3600) if span / s <= 6), 7200)
        at = math.ceil(self.start / step) * step
        while at < self.end:
            moment = dt.datetime.fromtimestamp(at, tz=dt.timezone.utc)
            yield at, moment.strftime("%H:%M:%S" if step < 60 else "%H:%M")
            at += step


def _time_axis(box: Box, time: Time) -> Iterator[str]:
    for at, text in time.ticks():
        x = time.x(box, at)
        yield line([(x, box.y), (x, box.y + box.height)], GRID)
        if box.x + 14 < x < box.x + box.width - 14:
            yield words((x, box.y + box.height + 12), text, 9, DIM, anchor="middle")


def _marks(box: Box, time: Time, marks: Sequence[Mark]) -> Iterator[str]:
    for mark in marks:
        x = time.x(box, mark.at)
        yield line([(x, box.y), (x, box.y + box.height)], mark.color, dash="3 3")
        bottom = box.y + box.height
        yield area([(x - 3, bottom + 4), (x + 3, bottom + 4), (x, bottom)], mark.color, 1)


def _nice(top: float) -> float:
    """Return the distance of lines on an axis up to `top`."""
    power = 10 ** math.floor(math.log10(top / 4))
    return float(next(power * f for f in (1, 2, 2.5, 5, 10) if power * f * 4 >= top))


def _stacked(series: Sequence[Series]) -> list[Series]:
    sums: dict[float, float] = {}
    made = []
    for item in series:
        points = []
        for at, value in item.points:
            sums[at] = sums.get(at, 0.0) + value
            points.append((at, sums[at]))
        made.append(item._replace(points=points))
    return made


def _colors(fields: Fields, series: Sequence[Series]) -> list[str]:
    found = []
    for index, item in enumerate(series):
        fixed = fields.get("color", item.name, item.ref) or {}
        own = fixed.get("fixedColor") if fixed.get("mode") == "fixed" else None
        found.append(color(own) if own else PALETTE[index % len(PALETTE)])
    return found


def graph(
    panel: Mapping[str, Any], series: Sequence[Series], box: Box, time: Time, marks: Sequence[Mark]
) -> Iterator[str]:
    """Draw lines over time."""
    fields = Fields(panel)
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    drawn = _stacked(series) if stacked else list(series)
    unit = fields.get("unit")
    highest = max((value for item in drawn for _, value in item.points), default=0)
    top = max(highest * 1.05, custom.get("axisSoftMax") or 0) or 1
    names = [(fields.get("displayName", item.name, item.ref) or item.name) for item in series]
    colors = _colors(fields, series)
    rows = list(_rows(names, box.width))
    plot = box.inset(44, 4, 8, 18 + 14 * len(rows))
    step = _nice(top)
    yield from _time_axis(plot, time)

    def y(value: float) -> float:
        return plot.y + plot.height * (1 - min(value / top, 1.05))

    for index in range(int(top / step) + 1):
        yield line([(plot.x, y(index * step)), (plot.x + plot.width, y(index * step))], GRID)
        yield words(
            (plot.x - 5, y(index * step) + 3), number(index * step, unit), 9, DIM, anchor="end"
        )
    for value, shade in fields.limits():
        if value <= top:
            yield line([(plot.x, y(value)), (plot.x + plot.width, y(value))], shade, dash="6 4")
    for item, shade in reversed(list(zip(drawn, colors, strict=True))):
        dashed = fields.get("custom.lineStyle", item.name, item.ref)
        for part in _parts(item.points, time):
            points = [(time.x(plot, at), y(value)) for at, value in part]
            if not dashed:
                floor = plot.y + plot.height
                shape = [(points[0][0], floor), *points, (points[-1][0], floor)]
                if stacked:  # what is below is drawn later, and has to hide this
                    yield area(shape, PANEL, 1)
                yield area(shape, shade, 0.35 if stacked else 0.08)
            yield line(points, shade, dash="6 4" if dashed else "", width=1.3)
    yield from _marks(plot, time, marks)
    yield from _legend(rows, names, colors, plot)


def _parts(points: Points, time: Time) -> Iterator[list[Point]]:
    """Yield the parts of a line that have no gap."""
    gap = (time.end - time.start) / 100
    part = [points[0]]
    for point in points[1:]:
        if point[0] - part[-1][0] > gap:
            yield part
            part = []
        part.append(point)
    yield part


def _rows(names: Sequence[str], width: float) -> Iterator[list[str]]:
    row: list[str] = []
    used = 0.0
    for name in names:
        needed = wide(name, _LEGEND) + 24
        if row and used + needed > width:
            yield row
            row, used = [], 0.0
        row.append(name)
        used += needed
    if row:
        yield row


def _legend(
    rows: Sequence[Sequence[str]], names: Sequence[str], colors: Sequence[str], plot: Box
) -> Iterator[str]:
    shades = dict(zip(names, colors, strict=True))
    for number_, row in enumerate(rows):
        x, y = plot.x - 36, plot.y + plot.height + 30 + 14 * number_
        for name in row:
            yield line([(x, y - 3), (x + 12, y - 3)], shades[name], width=3)
            yield words((x + 16, y), name, _LEGEND, DIM)
            x += wide(name, _LEGEND) + 24


def timeline(
    panel: Mapping[str, Any], series: Sequence[Series], box: Box, time: Time, marks: Sequence[Mark]
) -> Iterator[str]:
    """Draw a band of states for each series."""
    fields = Fields(panel)
    left = min(max((wide(item.name, 10) for item in series), default=0) + 10, box.width * 0.5)
    plot = box.inset(left, 2, 8, 18)
    height = min(plot.height / max(len(series), 1), 30)
    step = (time.end - time.start) / 100
    yield from _time_axis(plot, time)
    for index, item in enumerate(series):
        top = plot.y + index * height
        name = fitting(item.name, left - 6, 10)
        yield words((plot.x - 6, top + height / 2 + 3), name, 10, TEXT, anchor="end")
        for start, end, value in _segments(item.points, step):
            shown = fields.show(value, item.name, item.ref)
            x = time.x(plot, start)
            band = Box(x, top + 1.5, time.x(plot, end) - x, height - 3)
            yield rectangle(band, shown.color or DIM)
            text = fitting(shown.text, band.width - 6, 9.5)
            if text == shown.text:
                middle = (x + band.width / 2, top + height / 2 + 3.2)
                yield words(middle, text, 9.5, "#ffffff", anchor="middle")
    yield from _marks(plot, time, marks)


def _segments(points: Points, step: float) -> Iterator[tuple[float, float, float]]:
    """Yield spans of time with one value; a gap ends a span."""
    start, value = points[0]
    last = start
    for at, now in points[1:]:
        if now != value or at - last > step:
            yield start, at if at - last <= step else last, value
            start, value = at, now
        last = at
    yield start, last, value
