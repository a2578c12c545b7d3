"""One page into a folder of node_exporter's textfile collector, instead of serving."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Collection

from netfilter_exporter.collection import Gatherer
from netfilter_exporter.collectors.base import Collector
from netfilter_exporter.exporter_metrics import TEXTFILE_ROW, page_families
from netfilter_exporter.exposition import Exposition

NAME = "netfilter_exporter.prom"
_PREFIX, _SUFFIX = ".netfilter_exporter-", ".tmp"
_MODE = 0o644  #: node_exporter is somebody else


def render(gatherer: Gatherer, collectors: Collection[Collector], now: float) -> bytes:
    """Return the page as text 0.0.4, made at `now` in seconds since the epoch.

    Without the metrics of the process, which is over when they are read.
    """
    families = page_families(gatherer.gather_whole(collectors))
    families.append((TEXTFILE_ROW, tuple(TEXTFILE_ROW.samples(now))))
    return Exposition().render(families, accept="text/plain")[0]


def write(directory: str, gatherer: Gatherer, collectors: Collection[Collector]) -> str:
    """Write the page into `directory` and return its path; raise OSError and leave the old one."""
    return replace(os.path.join(directory, NAME), render(gatherer, collectors, time.time()))


def replace(path: str, content: bytes) -> str:
    """Make `content` that of the file at `path`: a reader finds the old or the new, never a part.

    After a power cut too: the content is on the disk before the name is. What a killed run left
    behind is removed.
    """
    directory = os.path.dirname(path) or "."
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _remove_stale(folder, directory)
        _write(path, directory, content)
        os.fsync(folder)
    finally:
        os.close(folder)
    return path


def _write(path: str, directory: str, content: bytes) -> None:
    # node_exporter reads *.prom only.
    descriptor, temporary = tempfile.mkstemp(_SUFFIX, _PREFIX, directory)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, _MODE)
            os.fsync(descriptor)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _remove_stale(folder: int, directory: str) -> None:
    """Remove the temporary files of runs that were killed, and hold the lock of a run.

    Every run shares the lock of its folder until it ends; whoever has it alone knows that none of
    these files is being written.
    """
    with contextlib.suppress(OSError):  # a file system without locks keeps them
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for name in os.listdir(directory):
            if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
                os.unlink(os.path.join(directory, name))
    with contextlib.suppress(OSError):
        fcntl.flock(folder, fcntl.LOCK_SH)
