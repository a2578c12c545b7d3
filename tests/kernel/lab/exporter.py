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

from netfilter_exporter import cli

_PORT = 10042
_START = 30.0

_NOBODY = 65534
#: include/uapi/linux/capability.h and prctl.h (v6.18)
_CAPABILITIES = {"dac_read_search": 2, "net_admin": 12}
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

    def __init__(self, flags: Sequence[str] = (), config: str = "") -> None:
        folder = Path(tempfile.mkdtemp())
        self._log = folder / "log"
        self._arguments = [f"--web.listen-address=127.0.0.1:{_PORT}", *flags]
        if config:
            (folder / "config.yml").write_text(config)
            self._arguments.append(f"--config.file={folder / 'config.yml'}")
        self._start(None)

    def restart(self, capabilities: Sequence[str]) -> None:
        """End it, and run it as a user with nothing but `capabilities`."""
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
            code = cli.main(self._arguments)
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
