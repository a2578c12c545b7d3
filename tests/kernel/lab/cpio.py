"""Archives in cpio's "newc" format, which kernels unpack as their first root file system.

Source: Documentation/driver-api/early-userspace/buffer-format.rst. Several archives may follow
each other in one image; each of them ends with a trailer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_ALIGNMENT = 4
_TRAILER = "TRAILER!!!"
_CONSOLE = (5, 1)  #: what init has as its standard streams before /dev is mounted


def pack_tree(root: Path, out: BinaryIO) -> None:
    """Write everything below `root`, owned by root, in a stable order and without times."""
    for path in _walk(root):
        name = str(path.relative_to(root))
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            content = os.fsencode(path.readlink())
        else:
            content = path.read_bytes() if stat.S_ISREG(mode) else b""
        _entry(out, name, mode, content)
    _entry(out, _TRAILER, 0, b"")


def pack_console(out: BinaryIO) -> None:
    """Write /dev/console alone: making a device in a tree would need root."""
    _entry(out, "dev", stat.S_IFDIR | 0o755, b"")
    _entry(out, "dev/console", stat.S_IFCHR | 0o600, b"", device=_CONSOLE)
    _entry(out, _TRAILER, 0, b"")


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)


def _entry(
    out: BinaryIO, name: str, mode: int, content: bytes, device: tuple[int, int] = (0, 0)
) -> None:
    encoded = os.fsencode(name) + b"\0"
    # In the order of the format: inode, mode, two owners, links, time, size, and two devices.
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08x" % number for number in numbers)
    out.write(_padded(header + encoded))
    out.write(_padded(content))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
