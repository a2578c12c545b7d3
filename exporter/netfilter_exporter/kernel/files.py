"""Reading pseudo-files: bounded, classified, and never blocking on a pipe."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from netfilter_exporter.kernel.errors import Malformed, ReadError, from_oserror

#: Larger than any file of /proc/sys or /proc/net that is read here, small enough for a scrape.
LIMIT = 1 << 20
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
CHUNK = 1 << 16
NUMBER = 64  #: bytes: more than any integer has


class Paths(NamedTuple):
    """Where the host's file systems are mounted, as node_exporter's ``--path.*`` flags say."""

    procfs: str = "/proc"
    sysfs: str = "/sys"
    rootfs: str = "/"

    def proc(self, name: str) -> str:
        return f"{self.procfs}/{name}"

    def sys(self, name: str) -> str:
        return f"{self.sysfs}/{name}"

    def root(self, name: str) -> str:
        """Return `name`, an absolute path of the host, below the host's root."""
        return f"{self.rootfs.rstrip('/')}{name}"


def read_bytes(path: str, limit: int = LIMIT) -> bytes:
    """Return the whole file; raise `ReadError` when it is missing, denied or over `limit` bytes."""
    return within(limit, read_head(path, limit + 1), path)


def within(limit: int, content: bytes, path: str) -> bytes:
    """Return what was read of a file; raise `ReadError` where it is over `limit` bytes."""
    if len(content) > limit:
        raise ReadError(f"{path}: larger than {limit} bytes")
    return content


def read_head(path: str, size: int) -> bytes:
    """Return the first `size` bytes of a file, or all of it; raise `ReadError` as `read_bytes`."""
    descriptor = open_file(path)
    try:
        return read_descriptor(descriptor, path, size)
    finally:
        os.close(descriptor)


def open_file(path: str) -> int:
    """Return a descriptor of a file, which waits for nothing; raise `ReadError` as `read_bytes`."""
    try:
        return os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        raise from_oserror(error, path) from None


def read_descriptor(descriptor: int, path: str, size: int) -> bytes:
    """Return the first `size` bytes of an open file, which is at `path`; raise `ReadError`."""
    try:
        # A pseudo-file ends only where a read gives nothing: a short read is not its end.
        chunks = []
        while size > 0 and (chunk := os.read(descriptor, min(size, CHUNK))):
            chunks.append(chunk)
            size -= len(chunk)
        return b"".join(chunks)
    except (OSError, ValueError) as error:
        raise from_oserror(error, path) from None


def read_regular(path: str, limit: int = LIMIT) -> bytes:
    """Return the whole of a regular file, links followed; raise `ReadError` as `read_bytes` does.

    Anything else is refused before it is opened: a FIFO that nobody writes looks like an empty
    file, and opening a device may act on it.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise from_oserror(error, path) from None
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise ReadError(f"{path}: {kind}; expected a regular file")
    return read_bytes(path, limit)


_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def read_int(path: str) -> int:
    """Return the one decimal integer that the file holds, as sysctl files do.

    One small read: such a file gives its number at once, and the kernel clears a buffer of the
    size of the read (proc_sys_call_handler), which costs more than all the rest.
    """
    descriptor = open_file(path)
    try:
        return parse_int(os.read(descriptor, NUMBER), path)
    except (OSError, ValueError) as error:
        raise from_oserror(error, path) from None
    finally:
        os.close(descriptor)


def parse_int(content: bytes, what: str) -> int:
    """Return the decimal integer in `content`; int() alone would let ``1_0`` and ``+1`` pass."""
    text = content.rstrip(b"\n")
    if text.isdigit() and len(text) <= 20:  # nearly always
        return int(text)
    text = text.strip()
    if not text.lstrip(b"-").isdigit() or len(text) > 20:
        raise Malformed(f"{what}: not an integer: {text[:40]!r}")
    return int(text)


def exists(path: str) -> bool:
    """Return whether `path` exists; raises `ReadError` if that cannot be determined."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise from_oserror(error, path) from None
    return True


def inode(path: str) -> int:
    """Return the inode number of `path`, 0 if it does not exist."""
    try:
        return os.stat(path).st_ino
    except (OSError, ValueError):
        return 0


def listing(path: str) -> list[str]:
    """Return the sorted names in a directory."""
    try:
        return sorted(os.listdir(path))
    except (OSError, ValueError) as error:
        raise from_oserror(error, path) from None
