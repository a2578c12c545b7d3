"""The real process under floods: while one lasts it answers, and after it nothing is left."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections import Counter

import pytest

from support.process import ANY_PORT, running
from support.serving import connect_from, receive_response, reset

SECONDS = 3.0
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
HEALTHY = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def exporter(tmp_path):
    """An exporter that is what it was before, once the test is over."""
    with running(tmp_path / "log", ANY_PORT) as started:
        ask(started, SCRAPE)
        before = state(started)
        yield started
        assert ask(started, SCRAPE) == 200
        wait_until(lambda: state(started)["descriptors"] <= before["descriptors"] + 1)
        after = state(started)
        assert after["threads"] <= before["threads"] + 1  # the first reload starts one
        assert after["memory"] < before["memory"] + 15_000  # kB
        assert "Traceback" not in started.logged()


def state(exporter):
    """Return what a flood could leave behind."""
    return {
        "descriptors": len(os.listdir(f"/proc/{exporter.process.pid}/fd")),
        "threads": exporter.status("Threads"),
        "memory": exporter.status("VmRSS"),
    }


def wait_until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def connect(exporter):
    return connect_from("127.0.0.2", exporter.ports[0])


def ask(exporter, request):
    """Return the status of a request on a new connection."""
    with connect(exporter) as peer:
        peer.sendall(request)
        return int(receive_response(peer)[0].split()[1])


@contextlib.contextmanager
def flood(peer, count):
    """Run `peer` over and over in so many threads; yields what they count."""
    over, counted = threading.Event(), Counter()

    def go_on():
        while not over.is_set():
            counted[peer()] += 1

    threads = [threading.Thread(target=go_on) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield counted
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("end", [socket.socket.close, reset], ids=["closed", "reset"])
def test_connections_that_ask_nothing(exporter, end):
    """Four peers connect and go as fast as they can: each scrape meanwhile is answered."""

    def peer():
        end(connect(exporter))
        return "made"

    with flood(peer, 4) as counted:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            assert ask(exporter, SCRAPE) == 200
    assert counted["made"] > 200


def test_more_scrapers_than_are_served(tmp_path):
    """Those beyond --web.max-requests get 503 at once; all others a page, and health its answer."""
    with running(tmp_path / "log", ANY_PORT, "--web.max-requests=2") as exporter:
        with flood(lambda: ask(exporter, SCRAPE), 20) as counted:
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                assert ask(exporter, HEALTHY) == 200
        assert set(counted) <= {200, 503}
        assert counted[200] > 10
        assert ask(exporter, SCRAPE) == 200


def test_signals_by_the_hundred(exporter):
    """Every reload is taken or joins one that is pending; none ends the process."""
    for _ in range(300):
        exporter.process.send_signal(signal.SIGHUP)
        time.sleep(0.002)
    assert ask(exporter, HEALTHY) == 200
    assert exporter.process.poll() is None


def test_it_was_stopped_for_a_while(exporter):
    """As by a suspended machine: who waited is answered, and no count is wrong afterwards."""
    with connect(exporter) as peer:
        exporter.process.send_signal(signal.SIGSTOP)
        peer.sendall(SCRAPE)
        time.sleep(1.5)
        exporter.process.send_signal(signal.SIGCONT)
        assert receive_response(peer)[0].startswith(b"HTTP/1.1 200")
