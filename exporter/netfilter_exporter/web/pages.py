"""The pages: metrics, a landing page, and whether we are alive."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Callable, NamedTuple
from urllib.parse import parse_qs

from netfilter_exporter.collection import PAGE_TIMEOUT, Run
from netfilter_exporter.web.connection import Answer, Application
from netfilter_exporter.web.http import HttpError, Request, Response, accepts_gzip
from netfilter_exporter.web.scrapes import Form, Scrapes, Wanted

_READING = frozenset({"GET", "HEAD"})
_CHANGING = frozenset({"POST", "PUT"})
_QUERY_FIELDS = 100
_SECONDS = re.compile(r"[0-9]{1,4}(\.[0-9]{1,9})?", re.ASCII)

#: What of Prometheus' own timeout is left for the way, and the least that is taken for real.
_TIMEOUT_MARGIN = 0.5
_LEAST_TIMEOUT = 1.0


class Route(NamedTuple):
    """What answers at a path, and to which methods."""

    answer: Callable[[Request], Answer]
    methods: frozenset[str] = _READING


class Pages:
    """Answers requests by their path."""

    def __init__(
        self,
        scrapes: Scrapes,
        known: Iterable[str],
        telemetry_path: str,
        reload: Application | None = None,
    ) -> None:
        """`known` are the names of all collectors; `reload` is None where it is not enabled."""
        self._scrapes = scrapes
        self._known = frozenset(known)
        self._telemetry_path = telemetry_path
        self._routes = {
            "/": Route(self._landing),
            "/-/healthy": Route(_healthy),
            telemetry_path: Route(self._metrics),
        }
        self._routes["/-/reload"] = Route(reload or _not_enabled, _CHANGING)

    def __call__(self, request: Request) -> Answer:
        """Return the response, or the future of it; raise `HttpError`."""
        route = self._routes.get(request.path)
        if route is None:
            raise HttpError(404, "not found")
        if request.method not in route.methods:
            allowed = ", ".join(sorted(route.methods))
            return Response(405, b"method not allowed\n", headers=(("Allow", allowed),))
        return route.answer(request)

    def _landing(self, request: Request) -> Answer:
        gzip = accepts_gzip(request.headers.get("accept-encoding", ""))
        wanted = Wanted(tuple(self._scrapes.collectors), PAGE_TIMEOUT)
        return self._scrapes.page(wanted, Form("", gzip, self._findings))

    def _findings(self, run: Run) -> Response:
        from netfilter_exporter.web import landing  # noqa: PLC0415 - see there

        return landing.response(run, self._scrapes.collectors, self._telemetry_path)

    def _metrics(self, request: Request) -> Answer:
        headers = request.headers
        wanted = Wanted(
            self._filtered(request.query),
            _timeout(headers.get("x-prometheus-scrape-timeout-seconds", "")),
        )
        form = Form(headers.get("accept", ""), accepts_gzip(headers.get("accept-encoding", "")))
        return self._scrapes.page(wanted, form)

    def _filtered(self, query: str) -> tuple[str, ...]:
        """Return the names of the collectors that collect[] and exclude[] leave."""
        enabled = tuple(self._scrapes.collectors)
        if not query:
            return enabled
        try:
            fields = parse_qs(query, max_num_fields=_QUERY_FIELDS)
        except ValueError:
            raise HttpError(400, "malformed query") from None
        collect, exclude = fields.get("collect[]", []), fields.get("exclude[]", [])
        if collect and exclude:
            raise HttpError(400, "collect[] and exclude[] cannot be combined")
        for name in collect + exclude:
            if name not in self._known:
                raise HttpError(400, f"unknown collector: {name[:64]!a}")
            if name not in self._scrapes.collectors:
                raise HttpError(400, f"disabled collector: {name}")
        if collect:
            return tuple(name for name in enabled if name in collect)
        return tuple(name for name in enabled if name not in exclude)


def _not_enabled(_: Request) -> Response:
    return Response(403, b"disabled: requires --web.enable-lifecycle; SIGHUP reloads always\n")


def _healthy(_: Request) -> Response:
    return Response(200, b"netfilter_exporter is healthy\n")


def _timeout(header: str) -> float:
    """Return the time a collection may take when Prometheus says how long it waits."""
    if not _SECONDS.fullmatch(header):
        return PAGE_TIMEOUT
    return min(max(float(header) - _TIMEOUT_MARGIN, _LEAST_TIMEOUT), PAGE_TIMEOUT)
