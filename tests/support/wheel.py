"""The wheel under test: the one that tests/run built, or one of the tree; and the sdist."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

#: Names the wheel that is already built.
WHEEL = "NETFILTER_EXPORTER_WHEEL"
ROOT = Path(__file__).resolve().parents[2]

_LEFT_OUT = (".git", ".venv*", "tests", "build", "*.egg-info", ".*_cache", "__pycache__")


class BuildError(Exception):
    """It cannot be built; the text is what pip or setuptools said."""


def wheel(folder: Path) -> Path:
    """Return the wheel; if it has to be built, that happens in `folder`. Raises `BuildError`."""
    found = os.environ.get(WHEEL)
    return Path(found) if found else _build(folder / "source", folder / "dist")


def copy(source: Path) -> None:
    """Copy the tree, for building writes into the source."""
    ignored = shutil.ignore_patterns(*_LEFT_OUT)
    shutil.copytree(ROOT, source, symlinks=True, ignore=ignored)


def build(kind: str, source: Path, dist: Path, umask: int = -1) -> Path:
    """Return the "wheel" or "sdist" of `source`, of which `copy` has made a copy, in `dist`.

    The backend is called in this environment, which has the setuptools that it needs.
    """
    backend = f"import build_backend; build_backend.build_{kind}({str(dist)!r})"
    _run([sys.executable, "-c", backend], source, umask)
    (built,) = dist.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


def _build(source: Path, dist: Path) -> Path:
    copy(source)
    pip = ["pip", "wheel", "-q", "--no-deps", "-w", str(dist), str(source)]
    _run([sys.executable, "-m", *pip], source)
    return next(dist.glob("*.whl"))


def _run(command: list[str], source: Path, umask: int = -1) -> None:
    done = subprocess.run(
        command,
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source / "exporter")},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(done.stderr)
