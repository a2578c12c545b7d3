"""Pseudo-files that each scrape reads, left open between scrapes.

To open one costs several times what a read costs, and a sandbox checks each path that is opened,
while the kernel makes the content again for each read at offset 0. An entry that is gone answers
ENOENT (proc_sys_call_handler in fs/proc/proc_sysctl.c) or EIO (proc_reg_read in fs/proc/inode.c,
v6.18), also where another one has its name by now: it is then opened again. An open file holds
neither a module nor, for the files of this process, another network namespace.

For files that all hosts have a few of; those of each interface would stay open after it is gone.
"""

from __future__ import annotations

import os
import resource
import stat
import threading
from typing import Callable

from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.errors import from_oserror

#: More than are read by this module; none is closed to make room for another. At most a quarter of
#: the descriptors of the process: half are for peers (web/server.py), others for netlink.
_MOST, _PART = 128, 4


class _KeptFile:
    """An open file; a thread that reads keeps others from closing it, or moving its position."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def read(self, reading: Callable[[int], bytes]) -> bytes:
        with self._lock:
            return reading(self._descriptor)

    def close(self) -> None:
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1  # a thread that has yet to read gets EBADF, and opens it again


_kept: dict[str, _KeptFile] = {}
_keeping = threading.Lock()


def read_int(path: str) -> int:
    """Return the one decimal integer that the file holds; raise `ReadError` as `files` does."""
    return files.parse_int(
        _read(path, lambda descriptor: os.pread(descriptor, files.NUMBER, 0)), path
    )


def read_bytes(path: str, limit: int = files.LIMIT) -> bytes:
    """Return the whole file; raise `ReadError` when it is missing, denied or over `limit` bytes."""
    content = _read(path, lambda descriptor: _read_whole(descriptor, limit + 1))
    return files.within(limit, content, path)


def _read_whole(descriptor: int, size: int) -> bytes:
    content = b""
    # A pseudo-file ends only where a read gives nothing: a short read is not its end.
    while chunk := os.pread(descriptor, min(size - len(content), files.CHUNK), len(content)):
        content += chunk
    return content


def _read(path: str, reading: Callable[[int], bytes]) -> bytes:
    kept = _kept.get(path)
    if kept is not None:
        try:
            return kept.read(reading)
        except OSError:
            _forget(path, kept)
    descriptor = files.open_file(path)
    opened = _KeptFile(descriptor)
    try:
        content = opened.read(reading)
        if not _is_remade(descriptor) or not _keep(path, opened):
            opened.close()
    except OSError as error:
        opened.close()
        raise from_oserror(error, path) from None
    return content


def _is_remade(descriptor: int) -> bool:
    """Return whether the content is made when it is read: no blocks, and no size."""
    status = os.fstat(descriptor)
    is_pseudo = os.fstatvfs(descriptor).f_blocks == 0
    return is_pseudo and status.st_size == 0 and stat.S_ISREG(status.st_mode)


def _keep(path: str, opened: _KeptFile) -> bool:
    most = min(_MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _PART)
    with _keeping:
        return len(_kept) < most and _kept.setdefault(path, opened) is opened


def _forget(path: str, kept: _KeptFile) -> None:
    with _keeping:
        if _kept.get(path) is kept:
            del _kept[path]
    kept.close()
