"""In a guest: systemd's services as systemctl tells of them, and their pages."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lab.peer import namespace

NAME = "netfilter_exporter"
PORT = 10042
REACHED = "reached"
_STEP = 0.2
_PATIENCE = 200.0
#: Seconds for a connection, which takes a few ms or is never made.
_BRIEF = 3.0
T = TypeVar("T")


class CommandFailed(Exception):
    """A command failed: the text is its complaint."""


def run(command: str, text: str = "") -> str:
    """Run a command without a shell, with `text` as its input; return what it says."""
    done = subprocess.run(
        command.split(), input=text, capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    if done.returncode:
        raise CommandFailed(f"{command}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def write(name: str, text: str, mode: int = 0o644) -> None:
    """Write a file, and make its folder."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def properties(unit: str, *names: str) -> dict[str, str]:
    """Return properties of a unit."""
    lines = run(f"systemctl show --property={','.join(names)} {unit}").splitlines()
    return dict(line.split("=", 1) for line in lines)


def main_pid(unit: str = f"{NAME}.service") -> int:
    """Return the process of a service, 0 where there is none."""
    return int(properties(unit, "MainPID")["MainPID"])


def process_status(unit: str = f"{NAME}.service") -> dict[str, str]:
    """Return what /proc/PID/status says of a service's process."""
    lines = Path(f"/proc/{main_pid(unit)}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def wait_for(what: Callable[[], T]) -> T:
    """Return what `what` returns once it is true and nothing refuses; raise TimeoutError."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(ConnectionRefusedError):
            if found := what():
                return found
        time.sleep(_STEP)
    raise TimeoutError(str(what))


def page(path: str = "/metrics", port: int = PORT) -> str:
    """Return a page, asked for on loopback."""
    return _get(http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE), path)


def reach(address: str, source: str, inside: str) -> str:
    """Return what a peer that has the address `source`, in a network namespace, gets.

    REACHED, or the name of the error.
    """
    client = http.client.HTTPConnection(address, PORT, timeout=_BRIEF, source_address=(source, 0))
    try:
        with namespace(inside):
            client.connect()
        client.sock.settimeout(_PATIENCE)
        _get(client, "/-/healthy")
    except OSError as error:
        return type(error).__name__
    return REACHED


def _get(client: http.client.HTTPConnection, path: str) -> str:
    with contextlib.closing(client):
        client.request("GET", path)
        return client.getresponse().read().decode()
