"""The real process while rules change under it, and peers mean no good: nothing is missed or kept.

NETFILTER_EXPORTER_SOAK_SECONDS makes it last longer than 20 s; it prints a line a minute.
"""

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import deque

import pytest

from lab.peer import namespace as inside
from support.process import running

SECONDS = float(os.environ.get("NETFILTER_EXPORTER_SOAK_SECONDS", "20"))
ADDRESS = ("127.0.0.1", 10042)
IDLE = 30
TABLE = (
    "table ip t {{ chain c {{ type nat hook postrouting priority 100; oifname {} masquerade; }}; }}"
)
RULE = ("POSTROUTING", "-o", "wan0", "-j", "MASQUERADE")

pytestmark = pytest.mark.timeout(SECONDS + 180)


class Trouble:
    """Does something to the exporter, or to the rules that it reads."""

    def __init__(self, exporter):
        self._exporter = exporter
        self._random = random.Random(1)
        self._idle = deque()
        self.made = 0

    def make(self):
        """Make one of the six kinds of it."""
        self.made += 1
        kinds = (self._replace, self._add, self._legacy, self._garbage, self._half, self._reload)
        self._random.choice(kinds)()

    def _replace(self):
        run("nft", f"add table ip t; flush table ip t; {TABLE.format(f'w{self.made}')}")

    def _add(self):
        run("nft", f"add table ip t; {TABLE.format('eth9')}")

    def _legacy(self):
        change = self._random.choice([("-A", *RULE), ("-F",)])
        run("iptables-legacy", "-w", "-t", "nat", *change)

    def _garbage(self):
        with socket.create_connection(ADDRESS, 20) as peer:
            peer.sendall(bytes(self._random.choices(range(256), k=self._random.randrange(1, 4000))))

    def _half(self):
        self._idle.append(socket.create_connection(ADDRESS, 20))
        self._idle[-1].sendall(b"GET /metrics HT")
        if len(self._idle) > IDLE:
            self._idle.popleft().close()

    def _reload(self):
        self._exporter.process.send_signal(signal.SIGHUP)

    def close(self):
        """Let those go that wait."""
        for peer in self._idle:
            peer.close()


def run(*command):
    subprocess.run(command, check=True, capture_output=True)


def scrape():
    """Return the seconds that a scrape took; every one has the rules of both backends."""
    began = time.monotonic()
    client = http.client.HTTPConnection(*ADDRESS, timeout=20)
    client.request("GET", "/metrics")
    answer = client.getresponse()
    page = answer.read()
    client.close()
    assert answer.status == 200
    for backend in ("nftables", "legacy"):
        assert f'nat_readable{{backend="{backend}",family="ipv4"}} 1.0'.encode() in page
    return time.monotonic() - began


def state(exporter):
    """Return memory in kB, and the number of open files and of threads."""
    files = len(os.listdir(f"/proc/{exporter.process.pid}/fd"))
    return exporter.status("VmRSS"), files, exporter.status("Threads")


def test_an_hour_or_less(namespace, tmp_path):
    """No scrape fails or lacks a rule, and nothing grows once the caches are filled."""
    with inside(namespace.name):
        run("iptables-legacy", "-w", "-t", "nat", "-A", *RULE)
        with running(
            tmp_path / "log", f"--web.listen-address={ADDRESS[0]}:{ADDRESS[1]}"
        ) as exporter:
            soak(exporter, SECONDS / 4)
            memory, files, threads = state(exporter)
            soak(exporter, SECONDS)
            after = state(exporter)
            assert exporter.process.poll() is None
            assert "Traceback" not in exporter.logged()
    assert after[0] < memory + 2_000
    assert after[1] <= files + IDLE + 5
    assert after[2] <= threads + 1


def soak(exporter, seconds):
    """Scrape ten times a second, with some trouble at every fifth scrape."""
    trouble, scrapes, slowest = Trouble(exporter), 0, 0.0
    began = told = time.monotonic()
    try:
        while time.monotonic() < began + seconds:
            scrapes += 1
            slowest = max(slowest, scrape())
            if scrapes % 5 == 0:
                trouble.make()
            if time.monotonic() > told + 60:
                told = time.monotonic()
                sys.stderr.write(f"{scrapes} {trouble.made} {slowest:.3f} {state(exporter)}\n")
            time.sleep(0.1)
    finally:
        trouble.close()
