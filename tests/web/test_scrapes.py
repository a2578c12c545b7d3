"""web/scrapes.py: collections are shared, isolated and bounded."""

import gc
import gzip
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from netfilter_exporter import collection
from netfilter_exporter.kernel.errors import Denied
from support.serving import PATIENCE, collector, eventually


class Gate:
    """A collector that counts its runs and waits until it may go on."""

    def __init__(self, name="gate"):
        self.runs = 0
        self.began = threading.Event()
        self.open = threading.Event()
        self.collector = collector(name, self._read)

    def _read(self, _):
        self.runs += 1
        self.began.set()
        self.open.wait(PATIENCE)
        return self.runs


@pytest.fixture
def gate():
    made = Gate()
    yield made
    made.open.set()


def at_once(count, call):
    """Run `call` with 0 ... count-1 in as many threads and return the results."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def test_parallel_scrapes_share_a_collection(serve, gate):
    """Twenty scrapes at once, in two forms, are one or two collections."""
    server = serve(gate.collector)
    forms = [{"Accept": "application/openmetrics-text", "Accept_Encoding": "gzip"}, {}]

    def scrape(number):
        status, headers, body = server.get(**forms[number % 2])
        return status, gzip.decompress(body) if headers["Content-Encoding"] else body

    threading.Timer(1.0, gate.open.set).start()  # by then all have asked
    pages = at_once(20, scrape)
    assert gate.runs <= 2
    assert all(status == 200 and b"netfilter_test_gate" in body for status, body in pages)
    assert [body.endswith(b"# EOF\n") for _, body in pages] == [True, False] * 10


def test_a_later_scrape_is_a_new_collection(serve, gate):
    """Nothing of a collection that is over is served again."""
    gate.open.set()
    server = serve(gate.collector)
    assert [b"test_gate %d.0" % run in server.get()[2] for run in (1, 2, 3)] == [True] * 3


def test_another_filter_waits_for_its_own_collection(serve, gate):
    """One collection at a time: the second begins when the first has ended."""
    server = serve(gate.collector, collector("one"))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.get, "/metrics?collect[]=gate")
        assert gate.began.wait(PATIENCE)
        second = pool.submit(server.get, "/metrics?collect[]=one")
        time.sleep(0.1)
        assert not second.done()
        assert server.get("/-/healthy")[0] == 200  # which waits for no collection
        gate.open.set()
        assert b"test_gate 1.0" in first.result(PATIENCE)[2]
        assert b"test_one 1.0" in second.result(PATIENCE)[2]


def test_scrapes_above_the_limit_are_refused(serve, gate):
    """--web.max-requests counts scrapes in progress; what is above it gets a 503 at once."""
    server = serve(gate.collector, max_requests=2)
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(server.get) for _ in range(2)]
        eventually(lambda: len(server.server._answering) == 2)
        status, _, body = server.get()
        assert status == 503
        assert body == b"Limit of concurrent requests reached (2), try again later.\n"
        gate.open.set()
        assert [future.result(PATIENCE)[0] for future in running] == [200, 200]
    assert server.get()[0] == 200


def test_a_hanging_collector_is_left_behind(serve, gate, monkeypatch):
    """It is served as timeout, the others are served, and it is not started a second time."""
    monkeypatch.setattr(collection, "COLLECTOR_TIMEOUT", 0.2)
    server = serve(collector("before"), gate.collector, collector("later"))
    for _ in range(2):
        body = server.get()[2]
        assert b'status{collector="gate",status="timeout"} 1.0' in body
        assert b'success{collector="gate"} 0.0' in body
        assert b"netfilter_test_before 1.0" in body
        assert b"netfilter_test_later 1.0" in body
        assert b"netfilter_test_gate" not in body
    assert gate.runs == 1
    gate.open.set()
    eventually(lambda: b"netfilter_test_gate 2.0" in server.get()[2])


def test_the_whole_page_has_a_deadline(serve, gate, monkeypatch):
    """When time is up, what has not begun is timeout too, and no thread is started for it."""
    monkeypatch.setattr("netfilter_exporter.web.pages.PAGE_TIMEOUT", 0.3)
    server = serve(gate.collector, *(collector(f"later{n}") for n in range(5)))
    server.get("/metrics?collect[]=later0")
    threads = threading.active_count()
    began = time.monotonic()
    body = server.get()[2]
    assert time.monotonic() - began < 1
    assert body.count(b'status="timeout"} 1.0') == 6
    assert threading.active_count() <= threads + 1


@pytest.mark.parametrize(
    ("error", "status"), [(ZeroDivisionError("defect"), "error"), (Denied("no right"), "denied")]
)
def test_a_failing_row_fails_alone(serve, caplog, error, status):
    """Its collector's status tells; the page is served; the log says it once, not every time."""

    def fail(_):
        raise error

    server = serve(collector("bad", fail), collector("good"))
    for _ in range(3):
        code, _, body = server.get()
        assert code == 200
        assert b'status{collector="bad",status="%s"} 1.0' % status.encode() in body
        assert b"netfilter_test_good 1.0" in body
        assert b"Traceback" not in body
    (said,) = [r for r in caplog.records if r.message.startswith(f"collector bad: {status}: ")]
    assert str(error) in said.message
    assert ("ZeroDivisionError: defect" in caplog.text) is (status == "error")


def test_recovery_is_logged(serve, caplog):
    """A collector that works again says so, once."""
    caplog.set_level("INFO")
    errors = [Denied("first"), Denied("second"), None, None]

    def read(_):
        error = errors.pop(0)
        if error:
            raise error
        return 1

    server = serve(collector("moody", read))
    for _ in range(4):
        server.get()
    said = [r.message for r in caplog.records if "moody" in r.message]
    assert said == [
        "collector moody: denied: first",
        "collector moody: denied: second",
        "collector moody: ok again",
    ]


def test_a_value_that_cannot_be_rendered_is_left_out(serve, caplog):
    """One family that the encoder refuses does not cost the page."""
    server = serve(collector("bad", lambda _: "no number"), collector("good"))
    status, _, body = server.get()
    assert status == 200
    assert b"test_bad" not in body
    assert b"netfilter_test_good 1.0" in body
    assert "bad is left out of the page" in caplog.text


def test_a_defect_in_making_the_page_is_a_500(serve, monkeypatch):
    """Whoever waits gets an answer, and the thread goes on."""
    server = serve()
    monkeypatch.setattr("netfilter_exporter.web.scrapes.page_families", lambda _: 1 / 0)
    assert server.get()[0] == 500
    monkeypatch.undo()
    assert server.get()[0] == 200


@pytest.mark.parametrize(
    "part",
    ["collection.Snapshot.close", "collection.ErrorLog.update", "web.scrapes.zlib.compressobj"],
)
def test_a_defect_at_the_end_of_a_collection_hinders_no_other(serve, monkeypatch, part):
    """Whoever waits gets an answer, and so do those who come later."""
    server = serve()

    def fail(*_):
        raise OSError("defect")

    monkeypatch.setattr(f"netfilter_exporter.{part}", fail)
    for _ in range(2):
        assert server.get(accept_encoding="gzip")[0] in {200, 500}
    monkeypatch.undo()
    assert server.get()[0] == 200


def test_without_a_thread_the_scrape_fails_and_the_next_one_does_not(serve, monkeypatch):
    """Where the machine has no thread left, whoever waits is told so, and nobody waits forever."""
    server = serve()

    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("netfilter_exporter.collection._Worker.start", refuse)
    assert [server.get()[0] for _ in range(2)] == [500, 500]
    monkeypatch.undo()
    assert server.get()[0] == 200


def test_a_hanging_collector_waits_for_a_thread(serve, gate, monkeypatch, caplog):
    """Where it cannot be left behind at once, it is later."""
    server = serve(gate.collector, collector("later"))
    gate.open.set()
    server.get()  # starts the thread
    gate.open.clear()
    monkeypatch.setattr(collection, "COLLECTOR_TIMEOUT", 0.1)
    start = collection._Worker.start
    failures = [RuntimeError("can't start new thread")]

    def moody(worker):
        if failures:
            raise failures.pop()
        start(worker)

    monkeypatch.setattr(collection._Worker, "start", moody)
    body = server.get()[2]
    assert b'status{collector="gate",status="timeout"} 1.0' in body
    assert b"netfilter_test_later 1.0" in body
    assert "cannot be left behind yet" in caplog.text


def test_scrapes_leak_nothing(serve):
    """After 300 scrapes on connections of their own, no descriptor and no thread is left."""
    server = serve()

    def count():
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    def idle():
        return not server.server._waiting and not server.server._answering

    server.get()
    eventually(idle)
    gc.collect()  # what earlier tests left to be closed
    before = count()
    for _ in range(300):
        server.get()
    eventually(idle)
    assert count() == before
