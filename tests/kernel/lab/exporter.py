"""The exporter under test: its real process and its pages."""

from __future__ import annotations

import http.client
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from netfilter_exporter import cli

_PORT = 10042
_START = 30.0


class Exporter:
    """A child process that runs the command, forked from one that has it imported."""

    def __init__(self, flags: Sequence[str] = (), config: str = "") -> None:
        folder = Path(tempfile.mkdtemp())
        self._log = folder / "log"
        arguments = [f"--web.listen-address=127.0.0.1:{_PORT}", *flags]
        if config:
            (folder / "config.yml").write_text(config)
            arguments.append(f"--config.file={folder / 'config.yml'}")
        self._pid = os.fork()
        if self._pid == 0:
            self._run(arguments)
        self._wait()

    def _run(self, arguments: list[str]) -> None:
        code = 1
        try:
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1) for n in (1, 2))
            code = cli.main(arguments)
        finally:
            os._exit(code)

    def _wait(self) -> None:
        end = time.monotonic() + _START
        while True:
            try:
                self._get("/-/healthy")
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
            else:
                return

    def scrape(self, *collectors: str) -> str:
        """Return a page, of some collectors or of all."""
        query = "&".join(f"collect[]={name}" for name in collectors)
        return self._get(f"/metrics?{query}" if query else "/metrics")

    def _get(self, target: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", _PORT, timeout=20)
        try:
            connection.request("GET", target)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise OSError(f"{target}: {answer.status} {text}")
        return text

    def log(self) -> str:
        return self._log.read_text()

    def close(self) -> None:
        """End it, and take its exit code for granted: the log tells."""
        os.kill(self._pid, signal.SIGTERM)
        os.waitpid(self._pid, 0)
