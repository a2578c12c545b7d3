"""The queues of NFQUEUE to which a program listens.

Source: /proc/net/netfilter/nfnetlink_queue, seq_show in net/netfilter/nfnetlink_queue.c (v6.18): a
line for each queue of this network namespace, which begins with its number.
"""

from __future__ import annotations

from netfilter_exporter.kernel.errors import NoData
from netfilter_exporter.kernel.files import Paths, parse_int, read_bytes

_PATH = "net/netfilter/nfnetlink_queue"


def read_queue_listeners(paths: Paths) -> frozenset[int]:
    """Return the numbers of the queues; none where the kernel has no nfnetlink_queue."""
    path = paths.proc(_PATH)
    try:
        return parse_queue_listeners(read_bytes(path), path)
    except NoData:
        return frozenset()


def parse_queue_listeners(content: bytes, what: str) -> frozenset[int]:
    """Return the number at the beginning of each line."""
    lines = (line.split() for line in content.splitlines())
    return frozenset(parse_int(columns[0], what) for columns in lines if columns)
