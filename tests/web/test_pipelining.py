"""web/connection.py: requests that a peer sends without waiting for answers."""

import socket
import threading
import time

import pytest

from netfilter_exporter.web.connection import Limits
from support.serving import PATIENCE, collector, eventually, receive_all

GET = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n"
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("request_", [GET, SCRAPE], ids=["at once", "after a collection"])
@pytest.mark.parametrize("count", [2, 5, 1000])
def test_all_requests_before_a_fin_are_answered(serve, request_, count):
    """However many a peer sends before it closes its side, however much that is."""
    with serve().connect() as peer:
        sender = threading.Thread(target=send_and_finish, args=(peer, request_ * count))
        sender.start()
        received = receive_all(peer)
        sender.join(PATIENCE)
    assert received.count(b"HTTP/1.1 200 OK") == count


def send_and_finish(peer, data):
    peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)


def test_a_part_of_a_request_before_a_fin_is_dropped(serve):
    """The whole requests before it are answered, then the connection ends at once."""
    with serve().connect() as peer:
        began = time.monotonic()
        send_and_finish(peer, SCRAPE * 2 + GET[:-2])
        received = receive_all(peer)
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert time.monotonic() - began < 5


def test_a_request_that_closes_ends_the_line(serve):
    """What stands behind Connection: close is not answered."""
    with serve().connect() as peer:
        send_and_finish(peer, GET + CLOSE + GET)
        assert receive_all(peer).count(b"HTTP/1.1 200 OK") == 2


def test_requests_in_line_take_no_memory(serve):
    """While one is answered, the rest waits in the peer's own buffers, and is answered later."""
    going_on = threading.Event()
    server = serve(collector("slow", lambda _: int(going_on.wait(PATIENCE))))
    requests = SCRAPE + GET * 20_000
    with server.connect() as peer:
        sender = threading.Thread(target=send_and_finish, args=(peer, requests))
        sender.start()
        eventually(lambda: server.server._answering)
        time.sleep(0.2)
        (kept,) = server.server._answering
        assert len(kept._received) <= 2 * Limits().head_bytes
        going_on.set()
        count = 0
        while chunk := peer.recv(1 << 20):
            count += chunk.count(b"is healthy")
        sender.join(PATIENCE)
    assert count == pytest.approx(20_000, abs=100)  # some are cut in two by recv()


def test_empty_lines_between_requests_are_dropped(serve):
    """As old clients send them behind a body."""
    with serve().connect() as peer:
        send_and_finish(peer, b"\r\n\r\n\n" + GET + b"\r\n\r\n\r\n" + GET)
        assert receive_all(peer).count(b"HTTP/1.1 200 OK") == 2


def test_a_body_behind_a_slow_request_resets_nothing(serve):
    """What waited in line is dropped before the connection ends, so both answers arrive."""
    going_on = threading.Event()
    slow = collector("slow", lambda _: int(going_on.wait(PATIENCE)))
    server = serve(slow, limits=Limits(linger_seconds=PATIENCE))
    head = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n"
    with server.connect() as peer:
        sender = threading.Thread(
            target=send_and_finish, args=(peer, SCRAPE + head + b"x" * 10_000_000)
        )
        sender.start()
        eventually(lambda: server.server._answering)
        time.sleep(0.2)
        going_on.set()
        assert receive_all(peer).count(b"HTTP/1.1 200 OK") == 2
        sender.join(PATIENCE)
