#!/usr/bin/env python3
"""Draw a dashboard as SVG, from its own queries on a real Prometheus.

For the pictures in the README. It is no Grafana: it reads from the JSON what it draws, where, in
which colour and by which name, but type and spacing are its own. Needs Python 3.11 only.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from picture.ask import Prometheus, Series
from picture.graphs import Mark, Time, graph, timeline
from picture.look import BACKGROUND, BORDER, DIM, PANEL, color
from picture.svg import Box, rectangle, words
from picture.values import bars, table, tiles

_COLUMN, _LINE, _GAP, _HEAD = 56.0, 34.0, 6.0, 46.0
_FONT = "Inter, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


def draw(board: Mapping[str, Any], server: Prometheus, rows: int) -> str:
    """Return the picture of a dashboard, down to a line of its grid; 0: all of it."""
    panels = [p for p in board["panels"] if not rows or p["gridPos"]["y"] < rows]
    bottom = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels)
    whole = Box(0, 0, 24 * _COLUMN + 2 * _GAP, bottom * _LINE + _HEAD + _GAP)
    marks = list(_annotations(board, server))
    size = f'width="{whole.width:g}" viewBox="0 0 {whole.width:g} {whole.height:g}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{_FONT}">',
        rectangle(whole, BACKGROUND),
        *_heading(board, server, whole),
    ]
    for panel in panels:
        lines += _panel(panel, server, marks)
    return "\n".join([*lines, "</svg>", ""])


def _heading(board: Mapping[str, Any], server: Prometheus, whole: Box) -> Iterator[str]:
    yield words((14, 29), board["title"], 18, bold=True)
    hosts = server.variables["$instance"].replace("\\\\", "")
    chosen = f"Instance: {'All' if hosts == '.+' else hosts}"
    span = f"Last {(server.end - server.start) / 60:.0f} minutes"
    yield words((whole.width - 14, 29), f"{chosen} · {span}", 12, DIM, anchor="end")


def _annotations(board: Mapping[str, Any], server: Prometheus) -> Iterator[Mark]:
    """Yield when each annotation begins."""
    step = (server.end - server.start) / 100
    for item in board["annotations"]["list"]:
        for series in server.series(item):
            last = 0.0
            for at, _ in series.points:
                if at - last > step:
                    yield Mark(at, color(item["iconColor"]))
                last = at


def _panel(panel: Mapping[str, Any], server: Prometheus, marks: Sequence[Mark]) -> Iterator[str]:
    place = panel["gridPos"]
    box = Box(
        place["x"] * _COLUMN + _GAP,
        place["y"] * _LINE + _HEAD,
        place["w"] * _COLUMN - _GAP,
        place["h"] * _LINE - _GAP,
    )
    if panel["type"] == "row":
        yield words((box.x + 4, box.y + 19), panel["title"], 14, bold=True)
        return
    yield rectangle(box, PANEL, round_=3, border=BORDER)
    yield words((box.x + 8, box.y + 18), panel["title"], 12, bold=True)
    series = [item for target in panel["targets"] for item in server.series(target)]
    yield from _inside(panel, series, box.inset(8, 27, 8, 6), server, marks)


def _inside(
    panel: Mapping[str, Any],
    series: Sequence[Series],
    box: Box,
    server: Prometheus,
    marks: Sequence[Mark],
) -> Iterator[str]:
    shown = Time(server.start, server.end)
    if panel["type"] == "table":
        yield from table(panel, series, box, server.end)
    elif panel["type"] == "stat":
        yield from tiles(panel, series, box)
    elif panel["type"] == "bargauge":
        yield from bars(panel, series, box)
    elif panel["type"] == "state-timeline":
        yield from timeline(panel, series, box, shown, marks)
    else:
        yield from graph(panel, series, box, shown, marks)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dashboard", type=Path, help="JSON of a dashboard")
    parser.add_argument("picture", type=Path, help="SVG to write")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--instance", action="append", default=[], help="a host; all without it")
    parser.add_argument("--minutes", type=float, default=60, help="time to draw, up to now")
    parser.add_argument("--rows", type=int, default=0, help="lines of the grid to draw; 0: all")
    wanted = parser.parse_args(argv)
    end = time.time()
    server = Prometheus(wanted.prometheus, end - wanted.minutes * 60, end, wanted.instance)
    board = json.loads(wanted.dashboard.read_text(encoding="utf-8"))
    wanted.picture.write_text(draw(board, server, wanted.rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
