"""The real command in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import netfilter_exporter

COMMAND = (sys.executable, "-m", "netfilter_exporter")
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.path.dirname(os.path.dirname(netfilter_exporter.__file__)),
}
ANY_PORT = "--web.listen-address=127.0.0.1:0"


class Exporter:
    """A running exporter."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        self.ports: list[int] = []

    def logged(self) -> str:
        """Return what it has said so far."""
        return self.log.read_text()

    def status(self, key: str) -> int:
        """Return a number of /proc/PID/status."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            values = dict(line.split(":", 1) for line in file)
        return int(values[key].split()[0])

    def wait_for_log(self, pattern: str, count: int = 1, seconds: float = 20) -> list[str]:
        """Wait until `pattern` was logged `count` times, and return what it found."""
        end = time.monotonic() + seconds
        while len(found := re.findall(pattern, self.logged())) < count:
            assert self.process.poll() is None, f"it ended: {self.logged()}"
            assert time.monotonic() < end, self.logged()
            time.sleep(0.01)
        return found


@contextlib.contextmanager
def running(
    log: Path,
    *flags: str,
    prefix: Sequence[str] = (),
    command: Sequence[str] = COMMAND,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Exporter]:
    """Run the exporter until the end of the block, with its log in the file `log`."""
    wanted = max(sum("listen-address" in flag for flag in flags), 1)
    with log.open("w") as file:
        process = subprocess.Popen(
            [*prefix, *command, *flags],
            env={**ENVIRONMENT, **(environment or {})},
            stderr=file,
            text=True,
        )
    exporter = Exporter(process, log)
    try:
        ports = exporter.wait_for_log(r"listening on \S+:([0-9]+)", wanted)
        exporter.ports = list(map(int, ports))
        yield exporter
    finally:
        process.kill()
        process.wait()


def get(
    port: int, path: str = "/metrics", host: str = "127.0.0.1", method: str = "GET"
) -> tuple[int, str]:
    """Return status and body of a request."""
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=20)) as client:
        client.request(method, path)
        response = client.getresponse()
        return response.status, response.read().decode()
