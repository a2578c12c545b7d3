"""Prometheus and Alertmanager of several Debian suites, and ours run fast enough for a test."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

from support import debian

#: The versions that the rules must work in, and the suite that has each.
SUITES = {"2.42": "bookworm", "2.53": "trixie", "3": "sid"}

_DURATION = re.compile(r"(?<![\w.])((?:\d+(?:ms|[smhdw]))+)(?![\w.])")
_PART = re.compile(r"(\d+)(ms|[smhdw])")
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def promtool(version: str) -> Path:
    """Return the promtool of a version; raises `UnavailableError`."""
    package = "prometheus" if version == "2.42" else "promtool"
    return debian.fetch(SUITES[version], [package])[package] / "usr/bin/promtool"


def run_promtool(program: str | Path, *arguments: str | Path) -> tuple[int, str]:
    """Return the exit code of promtool and what it said."""
    done = subprocess.run(
        [program, *arguments],
        env={**os.environ, "GOGC": "400"},  # a fifth less time for some memory
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def vmalert_tool() -> Path:
    """Return the tool of VictoriaMetrics that tests rules as promtool does, and vmalert beside it.

    Raises `UnavailableError`.
    """
    name = "victoria-metrics"
    return debian.fetch("sid", [name])[name] / "usr/bin/vmalert-tool"


def prometheus(version: str) -> Path:
    """Return the Prometheus of a version; raises `UnavailableError`."""
    return debian.fetch(SUITES[version], ["prometheus"])["prometheus"] / "usr/bin/prometheus"


def alertmanager() -> list[str | Path]:
    """Return the command of Alertmanager, to which flags are added; raises `UnavailableError`.

    It ends without its templates, which it looks for where the package would have put them: it
    is shown the package's /usr/share over that of this machine.
    """
    folder = _alertmanager()
    show = 'mount -t overlay overlay -o "lowerdir=$0:/usr/share" /usr/share && exec "$@"'
    alone = ["unshare", "--mount", "--map-root-user", "sh", "-c", show]
    return [*alone, folder / "usr/share", folder / "usr/bin/prometheus-alertmanager"]


def amtool() -> Path:
    """Return Alertmanager's own tool; raises `UnavailableError`."""
    return _alertmanager() / "usr/bin/amtool"


def _alertmanager() -> Path:
    name = "prometheus-alertmanager"
    return debian.fetch("bookworm", [name])[name]


def faster(text: str, times: int) -> str:
    """Return `text` with every duration in it divided by `times`, so that ratios stay."""

    def divide(match: re.Match[str]) -> str:
        parts = _PART.findall(match[1])
        whole = sum(int(number) * _MILLISECONDS[unit] for number, unit in parts)
        return f"{max(1, whole // times)}ms"

    return _DURATION.sub(divide, text)


def start(
    command: Sequence[str | Path], log: Path, namespace: str | None = None
) -> subprocess.Popen[bytes]:
    """Start a program, in a network namespace if one is named; what it says goes to `log`."""
    inside = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
    with log.open("ab") as output:
        return subprocess.Popen([*inside, *map(str, command)], stdout=output, stderr=output)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program that `start` started."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return the first result of `condition` that is true; fail after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds:g} s")


def post(url: str, data: Any) -> None:
    """POST `data` as JSON."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(data).encode(), headers)
    with urllib.request.urlopen(request, timeout=5):
        pass


def get(url: str) -> Any:
    """GET JSON; None if nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.loads(answer.read())
    except OSError:
        return None
