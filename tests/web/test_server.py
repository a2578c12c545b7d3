"""web/server.py: whatever peers do, and however many, a scrape is answered."""

import socket
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netfilter_exporter.web.connection import Limits
from netfilter_exporter.web.http import Response
from netfilter_exporter.web.server import Server
from support.serving import (
    PATIENCE,
    Running,
    collector,
    eventually,
    receive_all,
    receive_response,
    reset,
)

GET = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n"
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def status_of(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


# -- connections -------------------------------------------------------------------------------


def test_a_connection_serves_many_requests(serve):
    """Prometheus keeps its connection for the next scrape."""
    with serve().connect() as peer:
        for _ in range(3):
            peer.sendall(SCRAPE)
            head, body = receive_response(peer)
            assert b"Connection: keep-alive" in head
            assert b"netfilter_test_one 1.0" in body


def test_requests_sent_at_once_are_answered_in_order(serve):
    """A thousand requests in a few segments: a thousand answers, and no recursion."""
    with serve().connect() as peer:
        for _ in range(10):
            threading.Thread(target=peer.sendall, args=(GET * 100,)).start()
            received = b""
            while received.count(b"is healthy") < 100:
                received += (chunk := peer.recv(65536))
                assert chunk
    assert received.count(b"HTTP/1.1 200 OK") == 100


@pytest.mark.parametrize(
    "request_", [CLOSE, b"GET /-/healthy HTTP/1.0\r\n\r\n"], ids=["close", "HTTP/1.0"]
)
def test_the_connection_closes_when_asked(serve, request_):
    """Connection: close is honoured, and is how HTTP/1.0 is meant."""
    response = serve().send(request_)
    assert status_of(response) == 200
    assert b"Connection: close" in response
    assert response.endswith(b"is healthy\n")


def test_a_peer_that_is_done_sending_gets_its_answer(serve):
    """A half-closed connection is no reason not to answer."""
    with serve().connect() as peer:
        peer.sendall(SCRAPE)
        peer.shutdown(socket.SHUT_WR)
        assert b"netfilter_test_one 1.0" in receive_all(peer)


def test_line_feeds_alone_do(serve):
    """What people type into nc is understood."""
    assert status_of(serve().send(b"\nGET /-/healthy HTTP/1.0\n\n")) == 200


def test_a_peer_that_leaves_during_a_collection_harms_nobody(serve):
    """Its answer is dropped, the next one is served."""
    going_on = threading.Event()
    server = serve(collector("slow", lambda _: int(going_on.wait(PATIENCE))))
    peer = server.connect()
    peer.sendall(SCRAPE)
    eventually(lambda: server.server._answering)
    reset(peer)
    eventually(lambda: not server.server._answering, 1)
    going_on.set()
    assert server.get()[0] == 200


# -- what is not answered as asked -------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
        (b"GET /nothing HTTP/1.0\r\n\r\n", 404),
        (b"GET /metrics/ HTTP/1.0\r\n\r\n", 404),
        (b"DELETE /metrics HTTP/1.0\r\n\r\n", 405),
        (b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"GET / HTTP/1.0\r\nA: " + b"a" * 16384 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 100_000, 431),
    ],
    ids=lambda value: str(value[:24]) if isinstance(value, bytes) else None,
)
def test_errors(serve, request_, status):
    """Each error has its status, a short text, and nothing of what is behind."""
    response = serve().send(request_)
    assert status_of(response) == status
    assert b"Content-Type: text/plain" in response
    for secret in (b"Server:", b"ython", b"Traceback", b".py"):
        assert secret not in response
    if status == 405:
        assert b"Allow: GET, HEAD" in response


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 45\r\n\r\nGET /nothing HTTP/1.1\r\nHost: a\r\n\r\n...........",
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"Content-Length: 100000000\r\n\r\n" + b"x" * 1_000_000,
    ],
    ids=["with a length", "chunked", "huge"],
)
def test_a_body_is_never_read_as_a_request(serve, body):
    """A request with a body has one answer, then the connection ends."""
    response = serve().send(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n" + body)
    assert status_of(response) == 200
    assert response.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in response


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.binary(max_size=200)
        | st.sampled_from([SCRAPE, GET, SCRAPE[:20], b"\r\n\r\n", b"\x00" * 3000, b"a" * 20000]),
        max_size=6,
    ).map(b"".join)
)
def test_no_bytes_break_the_server(garbage_server, garbage):
    """After any bytes from anybody, the next scrape is served; no answer is a 500."""
    with garbage_server.connect() as peer:
        peer.sendall(garbage)
        peer.shutdown(socket.SHUT_WR)
        assert b" 500 " not in receive_all(peer)
    assert garbage_server.get()[0] == 200


@pytest.fixture(scope="module")
def garbage_server():
    server = Running([collector("one")])
    yield server
    server.close()


def test_a_defect_of_ours_is_a_plain_500(serve, monkeypatch, caplog):
    """The client learns that there was an error, the log which one."""
    server = serve()
    monkeypatch.setattr(server.server, "application", lambda _: 1 / 0)
    status, _, body = server.get("/metrics")
    assert (status, body) == (500, b"internal error: see the log of the exporter\n")
    assert "ZeroDivisionError" in caplog.text


# -- time and numbers --------------------------------------------------------------------------


def test_idle_peers_cost_nobody_anything(serve):
    """With 300 silent peers and 50 unfinished heads, a scrape takes its usual time."""
    server = serve()
    peers = [server.connect() for _ in range(300)]
    for peer in peers[:50]:
        peer.sendall(b"GET /metrics HT")
    eventually(lambda: len(server.server._waiting) == 300)
    threads = threading.active_count()
    took = []
    for _ in range(20):
        began = time.perf_counter()
        assert server.get()[0] == 200
        took.append(time.perf_counter() - began)
    assert sorted(took)[10] < 0.1
    assert threading.active_count() <= threads + 1  # the one that collects
    for peer in peers:
        peer.close()


def test_the_oldest_waiting_peer_goes_first(serve):
    """Above the limit of waiting peers the oldest is closed, and the new one is served."""
    server = serve(limits=Limits(waiting_peers=3))
    peers = [server.connect() for _ in range(3)]
    eventually(lambda: len(server.server._waiting) == 3)
    assert server.get("/-/healthy")[0] == 200
    assert peers[0].recv(1) == b""
    for peer in peers[1:]:
        peer.sendall(GET)
        assert receive_response(peer)[0].startswith(b"HTTP/1.1 200")
    for peer in peers:
        peer.close()


def test_a_head_has_a_deadline(serve):
    """A byte now and then does not keep a connection: the time is that of the whole head."""
    server = serve(limits=Limits(head_seconds=0.3))
    began = time.monotonic()
    with server.connect() as peer:
        peer.settimeout(0.05)
        for byte in SCRAPE * 10:
            try:
                peer.sendall(bytes([byte]).replace(b"\n", b"x"))
                if peer.recv(1) == b"":
                    break
            except socket.timeout:
                continue
            except ConnectionError:
                break
        else:
            pytest.fail("it was kept")
    assert 0.25 < time.monotonic() - began < 2


def test_the_next_head_has_a_deadline_too(serve):
    """Between requests a peer may idle longer, but not once it has begun the next head."""
    server = serve(limits=Limits(head_seconds=0.3))
    with server.connect() as peer:
        peer.sendall(GET)
        receive_response(peer)
        time.sleep(0.5)
        peer.sendall(GET)  # still there
        receive_response(peer)
        peer.sendall(GET[:10])
        began = time.monotonic()
        assert receive_all(peer) == b""
        assert time.monotonic() - began < 2


def test_idling_has_a_limit(serve):
    """A connection without a request is closed in the end."""
    with serve(limits=Limits(idle_seconds=0.2)).connect() as peer:
        peer.sendall(GET)
        receive_response(peer)
        assert receive_all(peer) == b""


def test_a_peer_that_does_not_read_is_dropped(serve, monkeypatch):
    """An answer that nobody fetches is held for the write timeout, not for ever."""
    server = serve(limits=Limits(write_seconds=2))
    monkeypatch.setattr(server.server, "application", lambda _: Response(200, b"x" * 20_000_000))
    with server.connect() as peer:
        peer.sendall(GET)
        time.sleep(3)
        assert len(receive_all(peer)) < 20_000_000
    assert len(server.send(CLOSE)) > 20_000_000  # who reads, gets it all


def test_without_descriptors_the_server_waits_and_recovers(serve, monkeypatch):
    """EMFILE neither ends the server nor makes it spin; the peer is accepted afterwards."""
    server = serve(limits=Limits(starved_seconds=0.05))
    tries = []

    def starve(listener, error, real=Server._starve):
        tries.append(error)
        real(server.server, listener, error)

    class Listener:
        def __init__(self, real):
            self._real = real

        def fileno(self):
            return self._real.fileno()

        def accept(self):
            if len(tries) < 3:
                raise OSError(24, "Too many open files")
            return self._real.accept()

    monkeypatch.setattr(server.server, "_starve", starve)
    real = server._listener
    swapped = threading.Event()

    def swap():
        server._loop.remove_reader(real)
        server.server._listeners[:] = [real]
        server.server._accept_on(Listener(real))
        swapped.set()

    server._loop.call_soon_threadsafe(swap)
    assert swapped.wait(PATIENCE)
    assert server.get()[0] == 200
    assert len(tries) == 3
