"""One collection after the other, shared by the scrapes that want the same."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
import zlib
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Callable, NamedTuple, Union

from netfilter_exporter.collection import Gatherer, Gathering, Run
from netfilter_exporter.collectors.base import Collector
from netfilter_exporter.exporter_metrics import Family, page_families
from netfilter_exporter.exposition import Exposition
from netfilter_exporter.web.http import HttpError, Response

_log = logging.getLogger(__name__)

_Result = Union[Response, Exception]

#: 140 µs for a page of 25 kB, to a fifth of its size; zlib's defaults take thrice that for a tenth
#: less.
_LEVEL, _MEMORY = 1, 7
_GZIP = 16 + zlib.MAX_WBITS

_SOON = 0.5


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
    """A collection that is to be made, and who waits for it."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Form, asyncio.Future[Response]]] = []

    def abandoned(self) -> bool:
        return all(future.done() for _, future in self.waiting)


class Scrapes:
    """Makes pages in the gatherer's thread, for requests of the event loop."""

    def __init__(
        self,
        gatherer: Gatherer,
        collectors: Mapping[str, Collector],
        extra: Callable[[], list[Family]] = list,
        max_requests: int = 0,
    ) -> None:
        """`extra` makes more families for each page; `max_requests` 0 is no limit."""
        self.collectors = collectors
        self._gatherer = gatherer
        self._extra = extra
        self._max_requests = max_requests
        self._in_progress = 0
        self._exposition = Exposition()
        self._lock = threading.Lock()
        self._collections: dict[Wanted, _Collection] = {}  #: that may be joined
        self._queue: deque[Wanted] = deque()
        self._gathering: Gathering | None = None  #: what is under way
        self._watchdog: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Begin to serve the running loop."""
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        self._gatherer.close()

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
                self._queue.append(wanted)
            collection.waiting.append((form, future))
        if self._gathering is None:
            self._begin_next()
        return future

    def _done(self, _: asyncio.Future[Response]) -> None:
        self._in_progress -= 1

    def _begin_next(self) -> None:
        """Begin the next collection for which somebody still waits."""
        while self._queue:
            wanted = self._queue.popleft()
            if self._collections[wanted].abandoned():
                self._seal(wanted)
                continue
            try:
                self._gathering = self._begin(wanted)
            except Exception as error:  # no thread can be started
                _settle((future, error) for _, future in self._seal(wanted))
            else:
                self._supervise(self._gathering)
                return

    def _begin(self, wanted: Wanted) -> Gathering:
        collectors = [self.collectors[name] for name in wanted.collectors]
        done = functools.partial(self._make_pages, wanted)
        return self._gatherer.begin(collectors, wanted.timeout, done)

    def _supervise(self, gathering: Gathering) -> None:
        try:
            patience = gathering.supervise()
        except RuntimeError:
            _log.exception("a collector that hangs cannot be left behind yet")
            patience = _SOON
        if patience is not None:
            self._watchdog = self._loop.call_later(patience, self._supervise, gathering)

    def _deliver(self, results: Iterable[tuple[asyncio.Future[Response], _Result]]) -> None:
        _settle(results)
        if self._watchdog:
            self._watchdog.cancel()
        self._gathering = None
        self._begin_next()

    # -- in the gatherer's thread --------------------------------------------------------------

    def _make_pages(self, wanted: Wanted, run: Run) -> None:
        """Make the pages of a collection that is over, one for each form that is waited for."""
        waiting = self._seal(wanted)
        results: dict[Form, _Result] = {}
        for form, _ in waiting:
            if form not in results:
                results[form] = self._response(run, form)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(
                self._deliver, [(future, results[form]) for form, future in waiting]
            )

    def _seal(self, wanted: Wanted) -> list[tuple[Form, asyncio.Future[Response]]]:
        """From here on nobody joins the collection of `wanted`."""
        with self._lock:
            return self._collections.pop(wanted).waiting

    def _response(self, run: Run, form: Form) -> _Result:
        try:
            response = form.make(run) if form.make else self._metrics(run, form.accept)
            return _squeezed(response) if form.gzip else response
        except Exception as error:
            return error

    def _metrics(self, run: Run, accept: str) -> Response:
        families = page_families(run) + self._extra()
        body, content_type = self._exposition.render(families, accept)
        return Response(200, body, content_type)


def _squeezed(response: Response) -> Response:
    squeeze = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP, _MEMORY)
    body = squeeze.compress(response.body) + squeeze.flush()
    headers = (*response.headers, ("Content-Encoding", "gzip"))
    return response._replace(body=body, headers=headers)


def _settle(results: Iterable[tuple[asyncio.Future[Response], _Result]]) -> None:
    for future, result in results:
        if future.done():  # its peer has left
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
