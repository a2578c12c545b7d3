"""The exporter under test: its real process and its pages."""

from __future__ import annotations

import ctypes
import http.client
import os
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lab.peer import namespace
from netfilter_exporter import cli
from netfilter_exporter.hits import sampler as hits
from netfilter_exporter.netns import sampler as namespaces

_PORT = 10042
_START = 30.0
_PATIENCE = 20.0

#: Seconds between two readings of counters or looks at namespaces, and the part of a CPU that they
#: may take: a page of the lab stands for 15 s, and takes about half a second.
_INTERVAL, _CPU_SHARE = 0.3, 1.0

_NOBODY = 65534
#: include/uapi/linux/capability.h and prctl.h (v6.18)
_CAPABILITIES = {"net_admin": 12}
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_KEEPCAPS = 8


def become_user(capabilities: Sequence[str]) -> None:
    """Turn this process into an unprivileged user's with `capabilities`."""
    libc = ctypes.CDLL(None, use_errno=True)
    kept = sum(1 << _CAPABILITIES[name] for name in capabilities)
    libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(_NOBODY)
    os.setuid(_NOBODY)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    # effective, permitted and inheritable, each in two halves
    if libc.capset(header, struct.pack("=6I", kept, kept, 0, 0, 0, 0)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


class Exporter:
    """A child process that runs the command, forked from one that has it imported."""

    def __init__(
        self,
        flags: Sequence[str] = (),
        config: str = "",
        *,
        address: str = "127.0.0.1",
        scraper: str | None = None,
    ) -> None:
        """Start it; it is scraped at `address`, from the namespace `scraper` or from its own."""
        self._address, self._scraper = address, scraper
        self._connection: http.client.HTTPConnection | None = None
        folder = Path(tempfile.mkdtemp())
        folder.chmod(0o755)  # it may be restarted as another user
        self._log = folder / "log"
        self._arguments = [f"--web.listen-address={address}:{_PORT}", *flags]
        if config:
            (folder / "config.yml").write_text(config)
            self._arguments.append(f"--config.file={folder / 'config.yml'}")
        self._start(None)

    def restart(self, capabilities: Sequence[str] | None = None) -> None:
        """End it and start it again, with `capabilities` as a user that has nothing else."""
        self.close()
        self._start(capabilities)

    def _start(self, capabilities: Sequence[str] | None) -> None:
        self._pid = os.fork()
        if self._pid == 0:
            self._run(capabilities)
        self._wait()

    def _run(self, capabilities: Sequence[str] | None) -> None:
        code = 1
        try:
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1) for n in (1, 2))
            if capabilities is not None:
                become_user(capabilities)
            hits.INTERVAL, hits.CPU_SHARE = _INTERVAL, _CPU_SHARE
            namespaces.INTERVAL, namespaces.CPU_SHARE = _INTERVAL, _CPU_SHARE
            code = cli.main(self._arguments)
        finally:
            os._exit(code)

    def _wait(self) -> None:
        end = time.monotonic() + _START
        while not self._is_up():
            if time.monotonic() > end:
                raise OSError(f"the exporter does not serve: {self.log()}")
            time.sleep(0.02)

    def _is_up(self) -> bool:
        try:
            self._get("/-/healthy")
        except (OSError, http.client.HTTPException):
            return False
        return True

    def scrape(self, *collectors: str) -> str:
        """Return a page, of some collectors or of all."""
        query = "&".join(f"collect[]={name}" for name in collectors)
        return self._get(f"/metrics?{query}" if query else "/metrics")

    def _get(self, target: str) -> str:
        """Ask on the connection that is open, as Prometheus does: a full table takes no new one."""
        if self._connection is None:
            self._connection = self._connect()
        try:
            self._connection.request("GET", target)
            answer = self._connection.getresponse()
            text = answer.read().decode()
        except (OSError, http.client.HTTPException):
            self._disconnect()
            raise
        if answer.status != http.client.OK:
            raise OSError(f"{target}: {answer.status} {text}")
        return text

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self._address, _PORT, timeout=_PATIENCE)
        with namespace(self._scraper):
            connection.connect()
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def log(self) -> str:
        return self._log.read_text()

    def close(self) -> None:
        """End it, and take its exit code for granted: the log tells."""
        self._disconnect()
        os.kill(self._pid, signal.SIGTERM)
        os.waitpid(self._pid, 0)
