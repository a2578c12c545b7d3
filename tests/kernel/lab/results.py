"""What crosses the serial line: one result as one line of text."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any


def packed(result: dict[str, Any]) -> str:
    """Return `result` as text without white space."""
    return base64.b64encode(zlib.compress(json.dumps(result).encode(), 6)).decode()


def unpacked(text: str) -> dict[str, Any]:
    """Return the result that `text` carries."""
    found: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(text)))
    return found
