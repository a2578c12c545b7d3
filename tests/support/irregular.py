"""What a path can name besides a regular file."""

from __future__ import annotations

import os
import socket
from pathlib import Path

KINDS = ("a FIFO", "a directory", "a socket", "a character device")


def make(folder: Path, kind: str) -> str:
    """Make one of KINDS and return its path; the device is one that never ends."""
    path = folder / "irregular"
    if kind == "a FIFO":
        os.mkfifo(path)
    elif kind == "a directory":
        path.mkdir()
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    else:
        path.symlink_to("/dev/zero")
    return str(path)
