"""web/tls_layer.py: what a connection may do with TLS that it may do without."""

import contextlib
import socket
import ssl
import threading
import time

import pytest

from netfilter_exporter.web.connection import Limits
from netfilter_exporter.web.http import Response
from support.serving import PATIENCE, collector, eventually

TLS = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"
GET = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n"
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"


class Peer:
    """A client that decides itself when to send which bytes, encrypted or not."""

    def __init__(self, server, context, most=65536):
        self.raw = server.connect()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._most = most
        self._call(self.tls.do_handshake)
        self.flush()

    def _call(self, call, *arguments):
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                return call(*arguments)
            self.flush()
            if data := self.raw.recv(65536):
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def flush(self):
        """Send what is encrypted, `most` bytes each."""
        data = self._outgoing.read()
        for at in range(0, len(data), self._most):
            self.raw.sendall(data[at : at + self._most])

    def send(self, data):
        self.tls.write(data)
        self.flush()

    def notify_close(self):
        """Send close_notify."""
        self.raw.sendall(self.closed())

    def closed(self):
        """Return what was written and a close_notify, encrypted."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.encrypted()

    def encrypted(self):
        return self._outgoing.read()

    def receive_all(self):
        """Return what comes until close_notify; raises SSLError at an end without one."""
        received = bytearray()
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while chunk := self._call(self.tls.read, 65536):
                received += chunk
        return bytes(received)


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
def connect(request, web_config, serve, certificates):
    """Return a function that connects to a server with TLS, in each version."""
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    context.maximum_version = request.param
    with contextlib.ExitStack() as stack:

        def make(**settings):
            if "server" not in settings:
                settings["server"] = serve(
                    *settings.pop("collectors", ()), web_config=web_config(TLS), **settings
                )
                settings = {"server": settings["server"]}
            peer = Peer(settings["server"], context, settings.get("most", 65536))
            peer.server = settings["server"]
            return stack.enter_context(contextlib.closing(peer.raw)) and peer

        yield make


@pytest.mark.parametrize("request_", [GET, SCRAPE], ids=["at once", "after a collection"])
@pytest.mark.parametrize("end", ["close_notify", "FIN", "both"])
@pytest.mark.parametrize("count", [1, 5, 500])
def test_all_requests_before_the_end_are_answered(connect, request_, end, count):
    """Those that came before close_notify, or before a FIN without it."""
    peer = connect()
    peer.tls.write(request_ * count)
    data = peer.encrypted() if end == "FIN" else peer.closed()
    sender = threading.Thread(target=finish, args=(peer.raw, data, end != "close_notify"))
    sender.start()
    assert peer.receive_all().count(b"HTTP/1.1 200 OK") == count
    sender.join(PATIENCE)


def finish(raw, data, fin):
    raw.sendall(data)
    if fin:
        raw.shutdown(socket.SHUT_WR)


def test_bytes_one_by_one(connect):
    """However TCP cuts the records, they are put together."""
    server = connect().server
    peer = connect(server=server, most=1)
    peer.send(GET)
    peer.notify_close()
    assert peer.receive_all().count(b"HTTP/1.1 200 OK") == 1


def test_requests_in_line_take_no_memory(connect):
    """While one is answered, the rest is neither decrypted nor read."""
    going_on = threading.Event()
    slow = collector("slow", lambda _: int(going_on.wait(PATIENCE)))
    peer = connect(collectors=[slow])
    peer.tls.write(SCRAPE + GET * 20_000)
    sender = threading.Thread(target=peer.raw.sendall, args=(peer.closed(),))
    sender.start()
    eventually(lambda: peer.server.server._answering)
    time.sleep(0.3)
    (kept,) = peer.server.server._answering
    assert len(kept._received) <= 3 * Limits().head_bytes
    assert kept._transport._incoming.pending <= 3 * Limits().head_bytes
    going_on.set()
    assert peer.receive_all().count(b"HTTP/1.1 200 OK") == 20_001
    sender.join(PATIENCE)


def test_a_close_is_announced(connect):
    """After the last answer comes close_notify: a cut-off page is never taken for a whole one."""
    peer = connect()
    peer.send(GET.replace(b"Host: a", b"Host: a\r\nConnection: close"))
    assert b"is healthy" in peer.receive_all()  # which raises at an end without it


def test_a_body_is_dropped_and_answered(connect):
    """More than buffers hold behind a request with a body does not reset its answer."""
    peer = connect(limits=Limits(linger_seconds=PATIENCE))
    head = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    peer.send(head + b"x" * 1_000_000)
    assert peer.receive_all().count(b"HTTP/1.1 200 OK") == 1


def test_corrupted_records_end_the_connection(connect, caplog):
    """A record that was changed on its way is answered by an alert, and the next peer by a page."""
    server = connect().server
    for at in (0, 1, 3, 5, -1):
        peer = connect(server=server)
        peer.tls.write(SCRAPE)
        record = bytearray(peer._outgoing.read())
        record[at] ^= 0x55
        with contextlib.suppress(OSError):
            peer.raw.sendall(record)
            peer.raw.shutdown(socket.SHUT_WR)
            assert b"HTTP" not in peer.raw.recv(65536)
    peer = connect(server=server)
    peer.send(GET)
    peer.notify_close()
    assert b"is healthy" in peer.receive_all()
    assert caplog.text == ""
    eventually(lambda: len(server.server._waiting) == 1)  # the first


def test_a_peer_that_does_not_read_is_dropped(connect, monkeypatch):
    """With TLS too an answer that nobody fetches is held for the write timeout."""
    peer = connect(limits=Limits(write_seconds=1))
    server = peer.server
    monkeypatch.setattr(server.server, "application", lambda _: Response(200, b"x" * 20_000_000))
    peer.send(GET)
    eventually(lambda: not server.server._waiting and not server.server._answering, 5)


def test_who_leaves_in_the_middle_harms_nobody(connect):
    """Without a FIN, during a collection and during an answer."""
    server = connect().server
    for _ in range(20):
        peer = connect(server=server)
        peer.send(SCRAPE * 10)
        peer.raw.close()
    peer = connect(server=server)
    peer.send(GET)
    peer.notify_close()
    assert b"is healthy" in peer.receive_all()
    eventually(lambda: len(server.server._waiting) == 1)  # the first


def test_a_tls_peer_takes_little_memory(connect):
    """A handshake leaves less than 100 kB in this process for each peer: asyncio's leaves 256."""
    server = connect().server

    def resident():
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096

    peers = [connect(server=server) for _ in range(20)]
    before = resident()
    peers += [connect(server=server) for _ in range(100)]
    assert (resident() - before) / 100 < 2 * 100_000  # both ends are here
    for peer in peers:
        peer.send(GET)
        with contextlib.closing(peer.raw):
            peer.notify_close()
            assert b"is healthy" in peer.receive_all()
