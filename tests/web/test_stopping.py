"""web/server.py: what comes of peers when the server stops."""

import threading
import time

from netfilter_exporter.web.connection import Limits
from support.serving import PATIENCE, collector, eventually, receive_all, receive_response

GET = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n"
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"


def test_who_came_before_the_stop_is_answered(serve):
    """A request that is on its way when the server stops gets its answer, and the last one."""
    server = serve(limits=Limits(last_seconds=PATIENCE))
    with server.connect() as peer, server.connect() as idle:
        idle.sendall(GET)
        receive_response(idle)
        eventually(lambda: len(server.server._waiting) == 2)
        server.stop()
        eventually(lambda: server.server.stopping)
        peer.sendall(SCRAPE)
        response = receive_all(peer)
        assert receive_all(idle) == b""
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close" in response


def test_who_never_asks_delays_the_end_by_a_moment(serve):
    """A connection that nothing comes from is closed half a second after the stop."""
    server = serve()
    with server.connect() as silent:
        eventually(lambda: server.server._waiting)
        began = time.monotonic()
        server.stop()
        assert receive_all(silent) == b""
    server.close()
    assert time.monotonic() - began < Limits().stop_seconds


def test_stopping_ends_requests_in_progress_first(serve):
    """A scrape that is under way when the server stops still gets its page."""
    started, going_on = threading.Event(), threading.Event()

    def read(_):
        started.set()
        return int(going_on.wait(PATIENCE))

    server = serve(collector("slow", read))
    with server.connect() as peer, server.connect() as idle:
        peer.sendall(SCRAPE)
        assert started.wait(PATIENCE)
        server.stop()
        assert receive_all(idle) == b""
        going_on.set()
        response = receive_all(peer)
    assert b"netfilter_test_slow 1.0" in response
    assert b"Connection: close" in response
