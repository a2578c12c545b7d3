"""Panels of what holds now: tiles, bars and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from picture.ask import Series
from picture.look import BORDER, DIM, GRID, TEXT, Fields, number
from picture.svg import Box, fitting, line, rectangle, wide, words

_ROW = 25.0
_TYPE = 11.5


def tiles(panel: Mapping[str, Any], series: Sequence[Series], box: Box) -> Iterator[str]:
    """Draw a tile for each value."""
    fields = Fields(panel)
    height = box.height / max(len(series), 1)
    for index, item in enumerate(series):
        shown = fields.show(item.last, item.name, item.ref)
        text = shown.text
        tile = Box(box.x, box.y + index * height, box.width, height - 3)
        yield rectangle(tile, shown.color or BORDER, round_=2)
        size = min(tile.height * 0.42, 30.0, tile.width / max(len(text), 3) / 0.68)
        middle = tile.x + tile.width / 2
        named = bool(item.name) and len(series) > 1
        yield words(
            (middle, tile.y + tile.height * (0.48 if named else 0.5) + size * 0.35),
            *(text, size, "#ffffff"),
            anchor="middle",
            bold=True,
        )
        if named:
            name = fitting(item.name, tile.width - 4, 9)
            yield words((middle, tile.y + 10), name, 9, "#f0f0f4", anchor="middle")


def bars(panel: Mapping[str, Any], series: Sequence[Series], box: Box) -> Iterator[str]:
    """Draw a bar for each value."""
    fields = Fields(panel)
    top = fields.get("max") or max((item.last for item in series), default=1) or 1
    height = min(box.height / max(len(series), 1), 28)
    left = max((wide(item.name, 10.5) for item in series), default=0) + 10
    ordered = sorted(series, key=lambda item: -item.last)
    for index, item in enumerate(ordered):
        y = box.y + index * height
        shade = fields.by_threshold(item.last) or DIM
        room = box.width - left - 60
        yield words((box.x + left - 8, y + height / 2 + 4), item.name, 10.5, TEXT, anchor="end")
        yield rectangle(Box(box.x + left, y + 3, room, height - 6), GRID)
        yield rectangle(
            Box(box.x + left, y + 3, max(room * min(item.last / top, 1), 1), height - 6), shade
        )
        text = number(item.last, fields.get("unit"), fields.get("decimals"))
        yield words((box.x + box.width - 52, y + height / 2 + 4), text, 10.5, shade)


Cells = dict[str, "float | str"]


def _merged(series: Sequence[Series]) -> list[Cells]:
    """Return the rows of a table, as Grafana's transformation "merge" makes them."""
    refs = list(dict.fromkeys(item.ref for item in series))
    labels = [set.intersection(*(set(s.labels) for s in series if s.ref == ref)) for ref in refs]
    shared = set.intersection(*labels) if labels else set()
    rows: dict[tuple[object, ...], Cells] = {}
    for item in series:
        everything = set(item.labels) if len(refs) == 1 else shared
        key = tuple(sorted((name, item.labels[name]) for name in everything))
        column = "Value" if len(refs) == 1 else f"Value #{item.ref}"
        rows.setdefault(key, {}).update({**item.labels, column: item.last})
    return list(rows.values())


def _arranged(panel: Mapping[str, Any], rows: list[Cells]) -> tuple[list[str], list[Cells]]:
    """Return the columns in their order, and the sorted rows."""
    steps = {step["id"]: step["options"] for step in panel.get("transformations", [])}
    for sort in reversed(steps.get("sortBy", {}).get("sort", [])):
        field = sort["field"]
        rows.sort(key=lambda row: row.get(field, -math.inf), reverse=sort.get("desc", False))
    order = steps.get("organize", {}).get("indexByName", {})
    left_out = steps.get("organize", {}).get("excludeByName", {})
    names = {name for row in rows for name in row if not left_out.get(name)}
    return sorted(names, key=lambda name: (order.get(name, len(order)), name)), rows


def table(
    panel: Mapping[str, Any], series: Sequence[Series], box: Box, now: float
) -> Iterator[str]:
    """Draw a table; a row that has no room is left out, and how many are is said."""
    fields = Fields(panel)
    columns, rows = _arranged(panel, _merged(series))
    if not rows:
        middle = (box.x + box.width / 2, box.y + box.height / 2)
        yield words(middle, fields.get("noValue") or "No data", 13, DIM, anchor="middle")
        return
    texts = [[_cell(fields, name, row.get(name), now) for name in columns] for row in rows]
    titles = [fields.get("displayName", name) or name for name in columns]
    widths = [
        max([wide(title, _TYPE), *(wide(row[index][0], _TYPE) for row in texts)]) + 18
        for index, title in enumerate(titles)
    ]
    widths = [width * box.width / sum(widths) for width in widths]
    room = int(box.height / _ROW) - 1
    x = box.x
    for index, (title, width) in enumerate(zip(titles, widths, strict=True)):
        title_text = fitting(title, width - 6, _TYPE)
        yield words((x + 6, box.y + 16), title_text, _TYPE, "#8ab8ff", bold=True)
        for number_, row in enumerate(texts[:room]):
            text, shade = row[index]
            cell = Box(x, box.y + _ROW * (number_ + 1), width, _ROW)
            if shade:
                yield rectangle(cell.inset(1, 1, 1, 1), shade)
            ink = "#ffffff" if shade else TEXT
            yield words((x + 6, cell.y + 17), fitting(text, width - 6, _TYPE), _TYPE, ink)
        x += width
    for number_ in range(min(room, len(rows))):
        y = box.y + _ROW * (number_ + 1)
        yield line([(box.x, y), (box.x + box.width, y)], GRID)
    if len(rows) > room:
        end = (box.x + box.width, box.y - 6)
        yield words(end, f"{len(rows) - room} more rows below", 10, DIM, anchor="end")


def _cell(
    fields: Fields, name: str, value: float | str | None, now: float
) -> tuple[str, str | None]:
    if fields.get("unit", name) == "dateTimeFromNow" and isinstance(value, float):
        seconds = now - value / 1000
        ago = f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
        return f"{ago} ago", None
    shown = fields.show(value, name)
    colored = fields.get("custom.cellOptions", name)
    return shown.text, shown.color if colored and value is not None else None
