"""The committed dashboards, as Grafana reads them: panels, targets, variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[2] / "grafana"
NAMES = ("netfilter-fleet", "netfilter-host")

#: What Prometheus sees in place of a variable that has no value yet.
ANY = {
    "$__rate_interval": "5m",
    "$__interval": "1m",
    "$__range": "6h",
    "$job": ".+",
    "$instance": ".+",
    "${datasource}": "any",
}


class Target(NamedTuple):
    """A query, and the panel or annotation that asks it."""

    owner: str
    ref: str
    expr: str
    instant: bool


def load(name: str) -> Any:
    """Return a dashboard."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def panels(board: Any) -> list[Any]:
    """Return all panels that show something, those of closed rows too."""
    found = []
    for panel in board["panels"]:
        if panel["type"] == "row":
            found += panel.get("panels", [])
        else:
            found.append(panel)
    return found


def targets(board: Any) -> Iterator[Target]:
    """Yield the queries of panels."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield Target(panel["title"], target["refId"], target["expr"], target["instant"])


def annotations(board: Any) -> Iterator[Target]:
    """Yield the queries of annotations."""
    for item in board["annotations"]["list"]:
        yield Target(item["name"], "Anno", item["expr"], instant=False)


def variables(board: Any) -> dict[str, Any]:
    """Return the variables by name."""
    return {item["name"]: item for item in board["templating"]["list"]}


def interpolate(text: str, values: Mapping[str, str]) -> str:
    """Return a text with variables replaced; longer names first."""
    for name in sorted(values, key=len, reverse=True):
        text = text.replace(name, values[name])
    return text


def chosen(hosts: Sequence[str]) -> str:
    """Return what Grafana's Prometheus data source puts in for a choice of several values."""
    escaped = [re.sub(r"[$^*{}\[\]'+?.()|\\]", r"\\\\\g<0>", host) for host in hosts]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def words(panel: Any, field: str) -> dict[float, str]:
    """Return what the values of a column are called."""
    found = {}
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] == field:
            for item in override["properties"]:
                if item["id"] == "mappings":
                    mapped = [m["options"] for m in item["value"] if m["type"] == "value"]
                    words = (pair for options in mapped for pair in options.items())
                    found = {float(number): entry["text"] for number, entry in words}
    return found
