"""The wheel under test: the one that tests/run built, or one that is built of the tree."""

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
    """The wheel cannot be built; the text is what pip said."""


def wheel(folder: Path) -> Path:
    """Return the wheel; if it has to be built, that happens in `folder`. Raises `BuildError`."""
    found = os.environ.get(WHEEL)
    return Path(found) if found else _build(folder / "source", folder / "dist")


def _build(source: Path, dist: Path) -> Path:
    """Build it from a copy, for building writes into the source."""
    ignored = shutil.ignore_patterns(*_LEFT_OUT)
    shutil.copytree(ROOT, source, symlinks=True, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(dist), str(source)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(done.stderr)
    return next(dist.glob("*.whl"))
