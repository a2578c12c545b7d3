"""One page into a folder of node_exporter's textfile collector, instead of serving."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterable

from netfilter_exporter.collection import Gatherer
from netfilter_exporter.collectors.base import Collector
from netfilter_exporter.exporter_metrics import TEXTFILE_ROW, page_families
from netfilter_exporter.exposition import Exposition

NAME = "netfilter_exporter.prom"
_MODE = 0o644  #: node_exporter is somebody else


def render(gatherer: Gatherer, collectors: Iterable[Collector], now: float) -> bytes:
    """Return the page as text 0.0.4, made at `now` in seconds since the epoch.

    Without the metrics of the process, which is over when they are read.
    """
    families = page_families(gatherer.gather(collectors))
    families.append((TEXTFILE_ROW, tuple(TEXTFILE_ROW.samples(now))))
    return Exposition().render(families, accept="text/plain")[0]


def write(directory: str, gatherer: Gatherer, collectors: Iterable[Collector]) -> str:
    """Write the page into `directory` and return its path; raise OSError and leave the old one."""
    return replace(os.path.join(directory, NAME), render(gatherer, collectors, time.time()))


def replace(path: str, content: bytes) -> str:
    """Make `content` that of the file at `path`: a reader finds the old or the new, never a part.

    After a power cut too: the content is on the disk before the name is.
    """
    directory = os.path.dirname(path)
    # node_exporter reads *.prom only.
    descriptor, temporary = tempfile.mkstemp(".tmp", ".netfilter_exporter-", directory)
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
    _sync_directory(directory)
    return path


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
