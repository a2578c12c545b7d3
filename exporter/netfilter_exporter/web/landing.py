"""The landing page: what `check` says, for a browser.

A separate module, so that a server whose page nobody requests does not import `check`: that
is a fifth of the time that it takes to start.
"""

from __future__ import annotations

from collections.abc import Mapping

from netfilter_exporter.check import page
from netfilter_exporter.check.context import Context
from netfilter_exporter.check.report import evaluate
from netfilter_exporter.collection import Run
from netfilter_exporter.collectors.base import Collector
from netfilter_exporter.web.http import HTML, Response

_HEADERS = (("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),)


def response(run: Run, collectors: Mapping[str, Collector], telemetry_path: str) -> Response:
    """Return the page that shows a person what is broken; rates need `check`."""
    try:
        report = evaluate(Context(run))
    finally:
        run.close()  # a fact that no collector has read may have opened it again
    rows = [(name, collectors[name].help, outcome) for name, outcome in run.outcomes.items()]
    return Response(200, page.render(report, rows, telemetry_path), HTML, _HEADERS)
