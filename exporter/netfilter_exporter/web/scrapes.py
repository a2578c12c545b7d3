"""One collection at a time, in one thread, shared by the scrapes that want the same."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import zlib
from collections.abc import Iterable, Mapping
from typing import Callable, NamedTuple, Union

from prometheus_client.metrics_core import Metric as ClientMetric

from netfilter_exporter.collectors.base import Collector
from netfilter_exporter.exposition import Exposition
from netfilter_exporter.gather import Gatherer, Run
from netfilter_exporter.meta import page_families
from netfilter_exporter.web.http import HttpError, Response

_log = logging.getLogger(__name__)

_Result = Union[Response, Exception]

#: 110 µs for a page of 25 kB, to a fifth of its size; zlib's defaults take thrice that for a tenth
#: less.
_LEVEL, _MEMORY = 1, 5
_GZIP = 16 + zlib.MAX_WBITS


class Wanted(NamedTuple):
    """What is collected: scrapes that want the same may share it."""

    collectors: tuple[str, ...]
    timeout: float


class Form(NamedTuple):
    """How a scrape wants its page."""

    accept: str
    gzip: bool
    make: Callable[[Run], Response] | None = None  #: makes another page than that of the metrics


class _Collection:
    """A collection that is going to be made, and who waits for it."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Form, asyncio.Future[Response]]] = []

    def abandoned(self) -> bool:
        return all(future.done() for _, future in self.waiting)


class Scrapes:
    """Makes pages in a thread of its own, for requests of the event loop."""

    def __init__(
        self,
        gatherer: Gatherer,
        collectors: Mapping[str, Collector],
        extra: Callable[[], Iterable[ClientMetric]] = tuple,
        max_requests: int = 0,
    ) -> None:
        """`extra` makes families of prometheus-client's own; `max_requests` 0 is no limit."""
        self.collectors = collectors
        self._gatherer = gatherer
        self._extra = extra
        self._max_requests = max_requests
        self._in_progress = 0
        self._exposition = Exposition()
        self._lock = threading.Lock()
        self._collections: dict[Wanted, _Collection] = {}
        self._queue: queue.SimpleQueue[Wanted | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Begin to serve the running loop. The thread never keeps the process from ending."""
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._work, name="scrapes", daemon=True).start()

    def stop(self) -> None:
        self._queue.put(None)

    def page(self, wanted: Wanted, form: Form) -> asyncio.Future[Response]:
        """Return the page to come, of a collection that is not over yet or of a new one."""
        if self._max_requests and self._in_progress >= self._max_requests:
            text = f"Limit of concurrent requests reached ({self._max_requests}), try again later."
            raise HttpError(503, text)
        self._in_progress += 1
        future: asyncio.Future[Response] = self._loop.create_future()
        future.add_done_callback(self._done)
        with self._lock:
            collection = self._collections.get(wanted)
            if collection is None:
                collection = self._collections[wanted] = _Collection()
                self._queue.put(wanted)
            collection.waiting.append((form, future))
        return future

    def _done(self, _: asyncio.Future[Response]) -> None:
        self._in_progress -= 1

    # -- in the thread -------------------------------------------------------------------------

    def _work(self) -> None:
        while (wanted := self._queue.get()) is not None:
            deliveries = self._collect(wanted)
            try:
                self._loop.call_soon_threadsafe(_deliver, deliveries)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    def _collect(self, wanted: Wanted) -> list[tuple[asyncio.Future[Response], _Result]]:
        with self._lock:
            if self._collections[wanted].abandoned():
                del self._collections[wanted]
                return []
        try:
            run = self._gatherer.gather(
                [self.collectors[name] for name in wanted.collectors], wanted.timeout
            )
            extra = tuple(self._extra())
        except Exception as error:
            return [(future, error) for _, future in self._seal(wanted)]
        results: dict[Form, _Result] = {}
        waiting = self._seal(wanted)
        for form, _ in waiting:
            if form not in results:
                results[form] = self._response(run, extra, form)
        return [(future, results[form]) for form, future in waiting]

    def _seal(self, wanted: Wanted) -> list[tuple[Form, asyncio.Future[Response]]]:
        """From here on nobody joins the collection of `wanted`."""
        with self._lock:
            return self._collections.pop(wanted).waiting

    def _response(self, run: Run, extra: tuple[ClientMetric, ...], form: Form) -> _Result:
        try:
            response = form.make(run) if form.make else self._metrics(run, extra, form.accept)
        except Exception as error:
            return error
        if not form.gzip:
            return response
        squeeze = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP, _MEMORY)
        body = squeeze.compress(response.body) + squeeze.flush()
        headers = (*response.headers, ("Content-Encoding", "gzip"))
        return response._replace(body=body, headers=headers)

    def _metrics(self, run: Run, extra: tuple[ClientMetric, ...], accept: str) -> Response:
        body, content_type = self._exposition.render(page_families(run), accept, extra)
        return Response(200, body, content_type)


def _deliver(deliveries: list[tuple[asyncio.Future[Response], _Result]]) -> None:
    for future, result in deliveries:
        if future.done():  # its peer has left
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
