"""What Prometheus answers to the queries of a dashboard, with its variables filled in."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Series(NamedTuple):
    """A series: the query it is of, its labels, its name, and points of time and value."""

    ref: str
    labels: Mapping[str, str]
    name: str
    points: Sequence[tuple[float, float]]

    @property
    def last(self) -> float:
        """Its last value."""
        return self.points[-1][1]


class Prometheus:
    """Asks a Prometheus about a span of time, for the chosen hosts."""

    def __init__(self, url: str, start: float, end: float, instances: Sequence[str]) -> None:
        self._url = url.rstrip("/")
        self.start, self.end = start, end
        self._step = max(1.0, (end - start) / 240)
        self.variables = {
            "$__rate_interval": f"{max(self._step * 2, 8):.0f}s",
            "$__range": f"{end - start:.0f}s",
            "$__interval": f"{self._step:.0f}s",
            "$job": ".+",
            "$instance": "|".join(re.escape(name).replace("\\", "\\\\") for name in instances),
        }
        if not instances:
            self.variables["$instance"] = ".+"

    def series(self, target: Mapping[str, Any]) -> list[Series]:
        """Return what a target of a panel, or an annotation, has."""
        expr = str(target["expr"])
        variables = dict(self.variables)
        if "interval" in target:  # as Grafana does: four times the least interval of the target
            variables["$__rate_interval"] = f"{4 * int(target['interval'].rstrip('s'))}s"
        for name, value in variables.items():
            expr = expr.replace(name, value)
        if target.get("instant"):
            answer = self._get("query", query=expr, time=self.end)
        else:
            times = {"start": self.start, "end": self.end, "step": self._step}
            answer = self._get("query_range", query=expr, **times)
        ref = str(target.get("refId", ""))
        legend = str(target.get("legendFormat", ""))
        return [_series(ref, legend, item) for item in answer]

    def _get(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        body = urllib.parse.urlencode(parameters).encode()
        url = f"{self._url}/api/v1/{path}"
        with urllib.request.urlopen(url, body, timeout=60) as answer:  # noqa: S310 -- an address of the command line
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found


def _series(ref: str, legend: str, item: Mapping[str, Any]) -> Series:
    labels = item["metric"]
    name = re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), legend)
    points = item["values"] if "values" in item else [item["value"]]
    return Series(ref, labels, name.strip(), [(float(at), float(value)) for at, value in points])
