"""One result as one line of text: across the serial line, and in a folder of finished ones."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any


def packed(result: dict[str, Any]) -> str:
    """Return `result` as text without white space."""
    return base64.b64encode(zlib.compress(json.dumps(result).encode(), 6)).decode()


def unpacked(text: str) -> dict[str, Any]:
    """Return the result that `text` carries."""
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text)))
    return found


class Kept:
    """Results by kernel and scenario, each kept when it is finished; without a folder none is."""

    def __init__(self, folder: Path | None = None) -> None:
        """Use a folder that may be absent, or have results of an earlier run."""
        self._folder = folder

    def load(self, kernel: str) -> dict[str, dict[str, Any]]:
        """Return what is kept of a kernel, by scenario."""
        files = self._folder.glob(f"{kernel}/*") if self._folder else ()
        return {file.name: unpacked(file.read_text()) for file in files}

    def add(self, kernel: str, name: str, result: dict[str, Any]) -> None:
        """Keep a result."""
        if self._folder:
            place = self._folder / kernel
            place.mkdir(parents=True, exist_ok=True)
            half = self._folder / f".{kernel}"
            half.write_text(packed(result))
            half.replace(place / name)  # complete or absent, whenever the run ends
