"""The limit of the conntrack table, which all network namespaces of the running kernel share.

Tests that run side by side take turns: those whose hosts must not meet a full table hold it as it
is, one that lowers it waits for them and keeps others out.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from support import debian

BUCKETS = Path("/proc/sys/net/netfilter/nf_conntrack_buckets")
LIMIT = Path("/proc/sys/net/netfilter/nf_conntrack_max")


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Keep the limit as it is."""
    with _turn(fcntl.LOCK_SH):
        yield


@contextlib.contextmanager
def changed(value: int) -> Iterator[None]:
    """Set the limit, and put it back. Raises OSError where the namespace is not the first."""
    with _turn(fcntl.LOCK_EX):
        before = LIMIT.read_text()
        LIMIT.write_text(str(value))
        try:
            yield
        finally:
            LIMIT.write_text(before)


@contextlib.contextmanager
def dense(buckets: int) -> Iterator[None]:
    """Make the table that all namespaces share small, with a limit that suits it; undo both."""
    before = BUCKETS.read_text()
    with changed(8 * buckets):
        BUCKETS.write_text(str(buckets))
        try:
            yield
        finally:
            BUCKETS.write_text(before)


@contextlib.contextmanager
def _turn(kind: int) -> Iterator[None]:
    """Hold the lock; whoever waits for it keeps those out who come later."""
    folder = debian.cache_folder().parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "limit").open("w") as lock:
        with (folder / "limit-next").open("w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(lock, kind)
        yield
