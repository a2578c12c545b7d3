"""The real process, plain and with TLS and passwords, under all kinds of peers at once.

NETFILTER_EXPORTER_SOAK_SECONDS makes it last longer than its twelve seconds; it prints what it did.
"""

import base64
import contextlib
import os
import random
import signal
import socket
import ssl
import statistics
import sys
import threading
import time
from collections import Counter

import bcrypt
import pytest

from support.process import ANY_PORT, running
from support.serving import connect_from, receive_response, reset

SECONDS = float(os.environ.get("NETFILTER_EXPORTER_SOAK_SECONDS", "12"))
GET = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n"
SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n"
WEB = "tls_server_config: {{cert_file: cert.pem, key_file: key.pem}}\nbasic_auth_users: {{p: {}}}\n"

pytestmark = pytest.mark.timeout(SECONDS + 120)


class Soak:
    """One exporter, and the peers that do their worst to it."""

    def __init__(self, exporter, context=None):
        self.exporter = exporter
        self.done = threading.Event()
        self.counts = Counter()
        self.failed = []
        self.seconds = []
        self.memory = []
        self._context = context

    def raw(self, source="127.0.0.3"):
        return connect_from(source, self.exporter.ports[0])

    def connect(self, source="127.0.0.3"):
        peer = self.raw(source)
        if not self._context:
            return peer
        try:
            return self._context.wrap_socket(peer, server_hostname="localhost")
        except BaseException:
            peer.close()
            raise

    # -- what is served ------------------------------------------------------------------------

    def scrape(self):
        """Scrape on a new and on a kept connection, as Prometheus would, from its own address."""
        kept = None
        while not self.done.wait(0.25):
            began = time.perf_counter()
            try:
                with self.connect("127.0.0.9") as peer:
                    self.fetch(peer)
                kept = kept or self.connect("127.0.0.9")
                self.fetch(kept)
            except Exception as error:
                self.failed.append(repr(error))
                kept = None
            self.seconds.append((time.perf_counter() - began) / 2)
            self.counts["scrapes"] += 2
        if kept:
            kept.close()

    def fetch(self, peer):
        password = base64.b64encode(b"p:secret")
        peer.sendall(SCRAPE + b"Authorization: Basic " + password + b"\r\n\r\n")
        head, _ = receive_response(peer)
        assert head.startswith(b"HTTP/1.1 200"), head

    # -- what is endured -----------------------------------------------------------------------

    def connections(self):
        """Connect, and reset or close at once."""
        peer = self.raw()
        reset(peer) if random.random() < 0.5 else peer.close()

    def garbage(self):
        """Send random bytes, or a request or handshake with some bytes changed."""
        whole = random.choice([GET + b"\r\n", self.client_hello()])
        data = bytearray(random.choice([whole, os.urandom(random.randint(1, 5000))]))
        for _ in range(random.randint(0, 5)):
            data[random.randrange(len(data))] = random.randrange(256)
        with self.raw() as peer:
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
            peer.settimeout(2)
            while chunk := peer.recv(65536):
                assert b"ython" not in chunk

    def client_hello(self):
        outgoing = ssl.MemoryBIO()
        tls = ssl._create_unverified_context().wrap_bio(ssl.MemoryBIO(), outgoing)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        return outgoing.read()

    def corrupted(self):
        """Change bytes of what a peer sends after the handshake, or below it."""
        with self.connect() as peer:
            descriptor = socket.socket(fileno=os.dup(peer.fileno()))
            with descriptor:
                peer.sendall(SCRAPE + b"\r\n")
                descriptor.sendall(os.urandom(random.randint(1, 300)))
                descriptor.shutdown(socket.SHUT_WR)
                descriptor.settimeout(2)
                while descriptor.recv(65536):
                    pass

    def pipelines(self):
        """Send fifty requests in a segment; each has its answer, in TLS and with a FIN too."""
        with self.connect() as peer:
            peer.sendall((GET + b"\r\n") * 49 + GET + b"Connection: close\r\n\r\n")
            received = bytearray()
            while chunk := peer.recv(65536):
                received += chunk
        assert received.count(b"HTTP/1.1 ") == 50

    def slow(self):
        """Send a byte now and then, and leave in the middle."""
        with self.raw() as peer:
            for byte in (SCRAPE + b"x" * 20)[: random.randint(1, 60)]:
                peer.sendall(bytes([byte]))
                if self.done.wait(0.02):
                    return

    def deaf(self):
        """Ask for page after page and read none."""
        with self.connect() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.settimeout(0.1)
            peer.sendall((SCRAPE + b"\r\n") * 100)
            self.done.wait(0.5)

    def guesses(self):
        """Guess a password."""
        shown = base64.b64encode(b"p:" + os.urandom(8).hex().encode())
        with self.connect() as peer:
            peer.sendall(GET + b"Authorization: Basic " + shown + b"\r\n\r\n")
            status = int(receive_response(peer)[0].split()[1])
        assert status in ({401, 503} if self._context else {200})

    def reloads(self):
        self.exporter.process.send_signal(signal.SIGHUP)
        self.done.wait(0.5)

    # ------------------------------------------------------------------------------------------

    def again(self, attack):
        """Repeat `attack` until all is over; that it is cut off is no failure."""
        while not self.done.is_set():
            try:
                attack()
            except OSError:
                pass
            except AssertionError as error:
                self.failed.append(f"{attack.__name__}: {error}")
            self.counts[attack.__name__] += 1

    def run(self):
        attacks = [self.connections, self.garbage, self.corrupted, self.pipelines, self.reloads]
        attacks += [self.guesses] * 3 + [self.slow] * 10 + [self.deaf] * 3
        threads = [threading.Thread(target=self.scrape)]
        threads += [threading.Thread(target=self.again, args=(attack,)) for attack in attacks]
        for thread in threads:
            thread.start()
        while not self.done.wait(SECONDS / 20) and len(self.memory) < 20:
            self.memory.append(self.exporter.status("VmRSS"))
        self.done.set()
        for thread in threads:
            thread.join(30)


@pytest.fixture(params=["plain", "TLS and passwords"])
def soak(request, tmp_path, web_config, certificates):
    flags, context = [ANY_PORT], None
    if request.param != "plain":
        hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(8)).decode()
        flags.append(f"--web.config.file={web_config(WEB.format(hashed))}")
        context = ssl.create_default_context(cafile=certificates / "ca.pem")
    with running(tmp_path / "log", *flags) as exporter:
        yield Soak(exporter, context)


def state(exporter):
    descriptors = len(os.listdir(f"/proc/{exporter.process.pid}/fd"))
    return descriptors, exporter.status("Threads"), exporter.status("VmRSS")


def test_all_at_once(soak, capsys):
    """No scrape is lost, no traceback is logged, and little stays in use."""
    with soak.connect("127.0.0.9") as peer:
        soak.fetch(peer)
    before = state(soak.exporter)
    soak.run()
    time.sleep(1.5)
    after = state(soak.exporter)
    logged = soak.exporter.logged()
    median, longest = statistics.median(soak.seconds), max(soak.seconds)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{dict(soak.counts)}; scrape: median {median:.3f} s, longest {longest:.3f} s\n"
            f"descriptors, threads, kB: {before} -> {after}; failed: {soak.failed[:3]}\n"
            f"kB meanwhile: {soak.memory}\n"
        )
    assert soak.failed == []
    assert "Traceback" not in logged
    assert "level=error" not in logged
    assert soak.exporter.process.poll() is None
    assert after[0] <= before[0] + 40  # the deaf have ten seconds, the silent too
    assert after[1] <= before[1] + 2
    assert after[2] < before[2] + 30_000
    soak.exporter.process.terminate()
    assert soak.exporter.process.wait(10) == 0
