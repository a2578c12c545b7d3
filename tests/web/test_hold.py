"""The real process under peers that mean no good: scrapes are answered, and little is taken."""

import contextlib
import os
import re
import signal
import socket
import ssl
import statistics
import threading
import time

import pytest

from support.process import ANY_PORT, running
from support.serving import receive_response, reset

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"
TLS = "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"
IDLE = 300
SCRAPED_WITHIN = 0.1


class Peers:
    """Connects to an exporter, in plain or with TLS."""

    def __init__(self, exporter, context):
        self.exporter = exporter
        self._context = context

    def raw(self):
        return socket.create_connection(("127.0.0.1", self.exporter.ports[0]), timeout=20)

    def connect(self):
        if not self._context:
            return self.raw()
        return self._context.wrap_socket(self.raw(), server_hostname="localhost")

    def scrape(self):
        """Return the seconds of a scrape on a new connection."""
        began = time.perf_counter()
        with self.connect() as peer:
            peer.sendall(SCRAPE)
            head, _ = receive_response(peer)
        assert head.startswith(b"HTTP/1.1 200")
        return time.perf_counter() - began

    def usual_scrape(self, count=20):
        return statistics.median(self.scrape() for _ in range(count))


@pytest.fixture(params=["plain", "TLS"])
def peers(request, tmp_path, web_config, certificates):
    """An exporter that serves in plain, and one that serves with TLS."""
    flags, context = [ANY_PORT], None
    if request.param == "TLS":
        flags.append(f"--web.config.file={web_config(TLS)}")
        context = ssl.create_default_context(cafile=certificates / "ca.pem")
    with running(tmp_path / "log", *flags) as exporter:
        found = Peers(exporter, context)
        found.usual_scrape(3)
        yield found
        assert exporter.process.poll() is None
        assert "Traceback" not in exporter.logged()


@pytest.fixture
def closing():
    """Closes what is pushed to it."""
    with contextlib.ExitStack() as stack:
        yield stack


def test_three_hundred_idle_peers(peers, closing):
    """Half silent from the start, half after a scrape: no thread, little memory, no delay."""
    threads, memory = (peers.exporter.status(key) for key in ("Threads", "VmRSS"))
    for _ in range(IDLE // 2):
        closing.enter_context(peers.raw())
    for number in range(IDLE // 2):
        peer = closing.enter_context(peers.connect())
        if number % 10 == 0:
            peer.sendall(SCRAPE)
            receive_response(peer)
    assert peers.usual_scrape() < SCRAPED_WITHIN
    assert peers.exporter.status("Threads") <= threads
    assert peers.exporter.status("VmRSS") < memory + 25_000


def drip(peer, until):
    with contextlib.suppress(OSError):
        for byte in SCRAPE[:-2] + b"x" * 100_000:
            if until.wait(0.01):
                break
            peer.sendall(bytes([byte]))


def test_slow_drips(peers, closing):
    """Fifty peers that send a byte now and then, half of them in the middle of a handshake."""
    until = threading.Event()
    closing.callback(until.set)
    for number in range(50):
        peer = closing.enter_context(peers.connect() if number % 2 else peers.raw())
        threading.Thread(target=drip, args=(peer, until), daemon=True).start()
    assert peers.usual_scrape() < SCRAPED_WITHIN


def test_peers_that_do_not_read(peers, closing):
    """Thirty peers ask for page after page and fetch none; memory stays bounded."""
    memory = peers.exporter.status("VmRSS")
    for _ in range(30):
        peer = closing.enter_context(peers.connect())
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(0.2)
        with contextlib.suppress(OSError):
            for _ in range(200):
                peer.sendall(SCRAPE)
    assert peers.usual_scrape() < SCRAPED_WITHIN
    assert peers.exporter.status("VmRSS") < memory + 25_000


def test_twenty_parallel_scrapes(peers, closing):
    """They share collections: all together take little more than a few."""
    connections = [closing.enter_context(peers.connect()) for _ in range(20)]
    took = []
    for _ in range(5):
        began = time.perf_counter()
        for peer in connections:
            peer.sendall(SCRAPE)
        for peer in connections:
            assert receive_response(peer)[0].startswith(b"HTTP/1.1 200")
        took.append(time.perf_counter() - began)
    assert statistics.median(took) < SCRAPED_WITHIN


MALFORMED = [
    b"GET /metrics HTTP/9.9\r\n\r\n",
    b"GET /metrics\r\n\r\n",
    b"\x00\x01\x02\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nAccept: " + b"version=abc;" * 500 + b"\r\n\r\n",
    b"GET /metrics?" + b"collect[]=x&" * 1000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /-/reload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"A" * 70_000,
]


def test_a_storm_of_nonsense(peers):
    """Malformed requests and handshakes by the hundred: no delay, no leak, nothing of Python."""
    descriptors = len(os.listdir(f"/proc/{peers.exporter.process.pid}/fd"))
    said = b""
    for number in range(300):
        connect = peers.connect if number % 2 else peers.raw
        with connect() as peer, contextlib.suppress(OSError):
            peer.sendall(MALFORMED[number % len(MALFORMED)])
            if number % 3:
                peer.shutdown(socket.SHUT_WR)
                said += peer.recv(65536)
            else:
                reset(peer)
    assert peers.usual_scrape() < SCRAPED_WITHIN
    assert not re.search(rb"(?i)python|server:|asyncio|traceback", said)
    assert len(os.listdir(f"/proc/{peers.exporter.process.pid}/fd")) < descriptors + 10
    assert not re.search(r"level=(warn|error)", peers.exporter.logged())


def test_a_reload_under_load_drops_no_scrape(tmp_path, web_config, certificates):
    """While both files change and are read again, every scrape has its page."""
    config, web = tmp_path / "config.yml", web_config(TLS)
    config.write_text("nat: none\n")
    flags = [ANY_PORT, f"--config.file={config}", f"--web.config.file={web}"]
    context = ssl.create_default_context(cafile=certificates / "ca.pem")
    done, served, failed = threading.Event(), [], []

    def scrape_on(peers, *, kept):
        try:
            peer = peers.connect()
            while not done.is_set():
                peer.sendall(SCRAPE)
                served.append(receive_response(peer)[0].startswith(b"HTTP/1.1 200"))
                if not kept:
                    peer.close()
                    peer = peers.connect()
            peer.close()
        except BaseException as error:  # in a thread nobody else would see it
            failed.append(error)

    with running(tmp_path / "log", *flags) as exporter:
        peers = Peers(exporter, context)
        threads = [
            threading.Thread(target=scrape_on, args=(peers,), kwargs={"kept": number % 2 == 0})
            for number in range(6)
        ]
        for thread in threads:
            thread.start()
        for number in range(20):
            config.write_text(f"nat: {('required', 'none', 'wrong')[number % 3]}\n")
            web_config(TLS + "  min_version: TLS13\n" * (number % 2))
            exporter.process.send_signal(signal.SIGHUP)
            time.sleep(0.1)
        done.set()
        for thread in threads:
            thread.join(20)
        log = exporter.logged()
    assert failed == []
    assert len(served) > 50
    assert all(served)
    assert "kept the previous configuration" in log
    assert "reloaded configuration" in log
