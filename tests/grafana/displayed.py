"""What Grafana's own library makes of the values of a panel: their text and colour.

@grafana/data and what it needs are installed once, as the lock file says, below the cache.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support import debian
from support.locked import locked

_SOURCE = Path(__file__).parent / "displayed"
_FILES = ("package.json", "package-lock.json")
_PATIENCE = 280


class UnavailableError(Exception):
    """The packages cannot be had; the text says why."""


class Shown(NamedTuple):
    """A value as it is seen."""

    text: str
    color: str


def installed() -> Path:
    """Return the folder with the packages; raises `UnavailableError`."""
    made_of = b"".join((_SOURCE / name).read_bytes() for name in _FILES)
    folder = debian.cache_folder().parent / f"npm-{hashlib.sha256(made_of).hexdigest()[:16]}"
    with locked(folder):
        if not (folder / "complete").exists():
            _install(folder)
            (folder / "complete").touch()
    return folder


def _install(folder: Path) -> None:
    for name in _FILES:
        shutil.copy(_SOURCE / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--legacy-peer-deps", "--no-audit", "--no-fund"]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, check=True, timeout=_PATIENCE)
    except subprocess.CalledProcessError as error:
        raise UnavailableError(error.stderr.decode()[-500:]) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(str(error)) from None


def shown(
    packages: Path, panel: Mapping[str, Any], results: Mapping[str, Sequence[Any]]
) -> dict[str, list[Shown]]:
    """Return the values by the name of their field; `results` are Prometheus' by refId."""
    done = subprocess.run(
        ["node", str(_SOURCE / "show.cjs")],
        input=json.dumps({"panel": panel, "results": results}),
        env={"NODE_PATH": str(packages / "node_modules"), "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {
        field["name"]: [Shown(**value) for value in field["values"]]
        for field in json.loads(done.stdout)
    }
