"""Namespaces, processes and their cost: what the bench does to this machine, and undoes."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import re
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

#: What Prometheus 3 sends, word for word.
HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
    "Accept-Encoding": "gzip",
    "User-Agent": "Prometheus/3.0.0",
    "X-Prometheus-Scrape-Timeout-Seconds": "10",
}
BUCKETS = Path("/proc/sys/net/netfilter/nf_conntrack_buckets")
MAXIMUM = Path("/proc/sys/net/netfilter/nf_conntrack_max")
_CLONE_NEWNET = 0x40000000
_PATIENCE = 60


class Failed(Exception):
    """A command of the bench failed; the text has what it said."""


def run(*command: str, given: str = "") -> None:
    """Run a command to its end."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command)[:80]}: {done.stderr.strip()[:400]}")


@contextlib.contextmanager
def namespace(name: str) -> Iterator[str]:
    """Make a network namespace that is gone at the end of the block."""
    full = f"nfx-bench-{secrets.token_hex(3)}-{name}"
    run("ip", "netns", "add", full)
    try:
        run("ip", "-n", full, "link", "set", "lo", "up")
        yield full
    finally:
        run("ip", "netns", "del", full)


@contextlib.contextmanager
def conntrack_limit(entries: int) -> Iterator[None]:
    """Raise nf_conntrack_max, which all namespaces share, and put it back."""
    before = MAXIMUM.read_text()
    MAXIMUM.write_text(str(max(entries, int(before))))
    try:
        yield
    finally:
        MAXIMUM.write_text(before)


def within(name: str, *command: str) -> list[str]:
    """Return the command inside a namespace; unlike ip-netns(8) it keeps /sys, which costs too."""
    return ["nsenter", f"--net=/run/netns/{name}", *command]


def connect(name: str, port: int) -> socket.socket:
    """Return a connection to a port on the loopback of a namespace."""
    return inside(name, lambda: socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE))


def inside(name: str, make: Callable[[], socket.socket]) -> socket.socket:
    """Return a socket that is made in a namespace.

    Made in a thread that enters the namespace and ends: the rest of this process stays outside.
    """
    made: list[socket.socket | OSError] = []

    def enter() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{name}") as where:
            if libc.setns(where.fileno(), _CLONE_NEWNET):
                made.append(OSError(ctypes.get_errno(), "setns"))
                return
        try:
            made.append(make())
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    return made[0]


@contextlib.contextmanager
def hash_size(buckets: int) -> Iterator[None]:
    """Give the table that all namespaces share so many buckets, and put its size back."""
    before = BUCKETS.read_text()
    BUCKETS.write_text(str(buckets))
    try:
        yield
    finally:
        BUCKETS.write_text(before)


def cpu_of(pid: int) -> float:
    """Return the seconds of processor time, user and system, of all threads of a process."""
    return time.clock_gettime(~pid << 3 | 2)  # CPUCLOCK_SCHED (posix-timers.h)


def memory_of(pid: int, kind: str) -> float:
    """Return a figure of memory in /proc/PID/status, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(rf"{kind}:\s+(\d+) kB", status)
    return int(match[1]) / 1024 if match else 0.0


class Scrape(NamedTuple):
    """One scrape, as whoever makes it sees it, and what it cost the process."""

    seconds: float
    cpu: float
    kernel: float  #: of cpu, what was spent inside the kernel, to the hundredth of a second


class Server:
    """A running exporter, and a connection to it that stays open."""

    def __init__(
        self, name: str, port: int, command: Sequence[str], environment: Mapping[str, str]
    ):
        self.name = name
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            within(name, *command),
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.pid = self._process.pid  # nsenter replaces itself by the command
        self._port = port
        self._client: http.client.HTTPConnection | None = None

    def close(self) -> None:
        if self._client:
            self._client.close()
        self._process.kill()
        self._process.wait()

    def scrape(self) -> Scrape:
        """Scrape once, as Prometheus does."""
        self._connected()
        kernel, cpu, began = self._in_kernel(), self.cpu(), time.perf_counter()
        self.page(HEADERS)
        seconds = time.perf_counter() - began
        return Scrape(seconds, self.cpu() - cpu, self._in_kernel() - kernel)

    def failing(self) -> set[str]:
        """Scrape once; return the collectors that did not succeed."""
        return set(re.findall(r'collector_success{collector="(\w+)"} 0', self.page({}).decode()))

    def page(self, headers: Mapping[str, str], path: str = "/metrics") -> bytes:
        """Return the body of one page."""
        client = self._connected()
        client.request("GET", path, headers=dict(headers))
        response = client.getresponse()
        body = response.read()
        if response.status != 200 or not body:
            raise Failed(f"{self.name}: status {response.status}")
        return body

    def _connected(self) -> http.client.HTTPConnection:
        while self._client is None:
            if self._process.poll() is not None or time.monotonic() > self.started + _PATIENCE:
                raise Failed(f"{self.name}: the exporter does not listen")
            with contextlib.suppress(ConnectionRefusedError):
                peer = connect(self.name, self._port)
                self._client = http.client.HTTPConnection("127.0.0.1", self._port)
                self._client.sock = peer
                break
            time.sleep(0.002)
        return self._client

    def cpu(self) -> float:
        """Return the seconds of processor time, user and system, of all its threads."""
        return cpu_of(self.pid)

    def _in_kernel(self) -> float:
        stat = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(stat[12]) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        """Return resident memory in MB."""
        return memory_of(self.pid, "VmRSS")

    def peak(self) -> float:
        """Return the most memory that was resident, in MB."""
        return memory_of(self.pid, "VmHWM")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/task"))


def command_cpu(name: str, *command: str) -> float | None:
    """Return the seconds of processor time of a command; None where it is not installed."""
    if shutil.which(command[0]) is None:
        return None
    with open(os.devnull, "wb") as nowhere:
        process = subprocess.Popen(within(name, *command), stdout=nowhere, stderr=nowhere)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime
