"""Reads the head of the flow table, from ctnetlink or from /proc/net/nf_conntrack.

A reading ends early: its cost does not depend on the size of the table. Buckets are a keyed hash
of the tuple, so the entries of the first buckets are a fair sample, and each reading begins at the
same buckets.

Until v6.17 a dump of ctnetlink holds a reference to one entry between two receives
(ctnetlink_dump_table), so nothing waits in between, and the socket is closed at once.
"""

from __future__ import annotations

import functools
import os
import time
from typing import Callable

from netfilter_exporter.kernel.conntrack import flow_lines, flow_messages
from netfilter_exporter.kernel.conntrack.ctnetlink import IPCTNL_MSG_CT_GET
from netfilter_exporter.kernel.conntrack.flow import Reading
from netfilter_exporter.kernel.errors import from_oserror
from netfilter_exporter.kernel.files import Paths, open_file
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import nfgenmsg
from netfilter_exporter.rules.families import NFPROTO_UNSPEC

FILE = "net/nf_conntrack"

#: Bytes of the table in one reading: about 1 400 entries, and 5 ms of CPU in all.
SAMPLE_SIZE = 256 << 10

#: Seconds of CPU after which a reading ends, whatever it has: the kernel may walk entries of other
#: namespaces, which show only here. On a machine that parses so many lines in so many seconds; on
#: a slower one longer.
_CPU_LIMIT = 0.006
_PACE_LINES, _PACE_SECONDS = 64, 0.00025
_PACE_LINE = (
    b"ipv4     2 tcp      6 9 SYN_SENT src=10.0.0.1 dst=192.0.2.1 sport=1 dport=2 [UNREPLIED]"
    b" src=192.0.2.1 dst=10.0.0.1 sport=2 dport=1 mark=0 zone=0 use=2\n"
)

#: The kernel takes 1.5 times as long as parsing. From so many times on, and so many seconds, a
#: reading is laborious.
_LABORIOUS, _LABORIOUS_SECONDS = 8, 0.002

#: A part of the buckets. With fewer entries than that a receive of ctnetlink walks so many empty
#: buckets, with softirqs off, that packets wait.
SPARSE = 1 / 8

#: The kernel fills a page at most, and never cuts a line (seq_read_iter, fs/seq_file.c, v6.18).
_CHUNK = 1 << 16

Clock = Callable[[], float]


@functools.cache
def _cpu_limit() -> float:
    """Return the seconds of CPU that a reading may take here."""
    return _CPU_LIMIT * max(min(_pace() for _ in range(5)) / _PACE_SECONDS, 1.0)


def _pace() -> float:
    """Return the seconds of CPU that parsing some lines takes."""
    began = time.thread_time()
    flow_lines.reading(_PACE_LINES * _PACE_LINE, complete=True)
    return time.thread_time() - began


def is_sparse(entries: int, buckets: int) -> bool:
    """Return whether the table is too empty for ctnetlink."""
    return entries < SPARSE * buckets


def read_ctnetlink(connection: Connection, size: int, clock: Clock = time.thread_time) -> Reading:
    """Return the entries of the first `size` bytes of a dump; closes the connection.

    Raises `ReadError`. Asking loads nf_conntrack_netlink where that is a module: pass the gate.
    """
    began = clock()
    try:
        payloads, complete = connection.head(
            "ctnetlink CT_GET",
            IPCTNL_MSG_CT_GET,
            nfgenmsg(NFPROTO_UNSPEC),
            lambda taken: taken >= size or clock() - began >= _cpu_limit(),
        )
    finally:
        connection.close()
    read = clock()
    reading = flow_messages.reading(payloads, complete=complete)
    kernel, parsing = read - began, clock() - read
    laborious = kernel > _LABORIOUS_SECONDS and kernel > _LABORIOUS * parsing
    return reading._replace(laborious=laborious)


def read_procfs(paths: Paths, size: int, clock: Clock = time.thread_time) -> Reading:
    """Return the entries of the first `size` bytes of /proc/net/nf_conntrack.

    Raises `NoData` where it is absent, and `Denied` for users who are not of group 0.
    """
    path = paths.proc(FILE)
    descriptor = open_file(path)
    try:
        content, complete = _head(descriptor, size, clock)
    except OSError as error:
        raise from_oserror(error, path) from None
    finally:
        os.close(descriptor)
    return flow_lines.reading(content, complete=complete)


def _head(descriptor: int, size: int, clock: Clock) -> tuple[bytes, bool]:
    """Return the first bytes of a file, and whether that is all."""
    end = clock() + _cpu_limit()
    chunks: list[bytes] = []
    taken = 0
    while taken < size and clock() < end:
        chunk = os.read(descriptor, _CHUNK)
        if not chunk:
            return b"".join(chunks), True
        chunks.append(chunk)
        taken += len(chunk)
    return b"".join(chunks), False
