"""Counts the ports that flows use towards one destination.

By a dump that the kernel filters: it has softirqs off from one datagram to the next, long where few
flows of many match. Or in /proc/net/nf_conntrack, which delays no packet and costs more.

Source: ctnetlink_alloc_filter and ctnetlink_filter_match in net/netfilter/nf_conntrack_netlink.c,
CTA_FILTER_F_* in net/netfilter/nf_internals.h (v6.18; since v5.8). An older kernel ignores the
filter: the first entries show it, and the dump ends. Asking loads nf_conntrack_netlink where that
is a module: pass the gate first.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from typing import Callable

from netfilter_exporter.kernel.conntrack.ctnetlink import (
    CTA_IP,
    CTA_PROTO_DST_PORT,
    CTA_PROTO_NUM,
    CTA_PROTO_SRC_PORT,
    CTA_TUPLE_IP,
    CTA_TUPLE_PROTO,
    CTA_TUPLE_REPLY,
    IPCTNL_MSG_CT_GET,
)
from netfilter_exporter.kernel.conntrack.flow import Source, Towards
from netfilter_exporter.kernel.conntrack.flow_lines import ListedPorts
from netfilter_exporter.kernel.conntrack.flow_messages import (
    is_closing,
    parse_entry,
    parse_port,
    parse_shared,
    parse_towards,
)
from netfilter_exporter.kernel.conntrack.flow_table import FILE
from netfilter_exporter.kernel.errors import TimedOut, Unsupported, from_oserror
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netlink.attributes import nest, pack
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import nfgenmsg

CTA_FILTER = 25
CTA_FILTER_ORIG_FLAGS, CTA_FILTER_REPLY_FLAGS = 1, 2
_IP_SRC, _IP_DST, _PROTO_NUM, _PROTO_SRC_PORT = 1 << 0, 1 << 1, 1 << 3, 1 << 4

#: Bytes in one read of the file, and seconds of CPU for all of it.
_CHUNK, _MOST_CPU = 1 << 16, 1.0

#: Ports, first and last.
Range = tuple[int, int]


def count_ports(connection: Connection, towards: Towards, ports: Range) -> int:
    """Return how many flows use one of `ports` towards a destination; closes the connection.

    Raises `Unsupported` where the kernel does not filter.
    """
    counter = _Counter(towards, ports)
    request = _request(towards)
    try:
        whole = connection.stream("ctnetlink CT_GET", IPCTNL_MSG_CT_GET, request, counter.take)
    finally:
        connection.close()
    if not whole:
        raise Unsupported("ctnetlink: this kernel does not filter entries by their reply")
    return counter.found


def count_listed_ports(
    paths: Paths, wanted: Mapping[Source, Range], clock: Callable[[], float] = time.thread_time
) -> dict[Source, tuple[Towards, int]]:
    """Return the same of the most used destination of each source, of all that is listed.

    Reads /proc/net/nf_conntrack. Raises `NoData` where it is absent, `Denied` for users who are not
    of group 0, and `TimedOut` where it takes too much CPU: kernels may walk from the start of the
    table at each read.
    """
    path = paths.proc(FILE)
    end = clock() + _MOST_CPU
    listed = ListedPorts(wanted)
    rest = b""
    try:
        with open(path, "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                lines, end_of_line, rest = (rest + chunk).rpartition(b"\n")
                listed.take(lines + end_of_line)
                if clock() > end:
                    raise TimedOut(f"{path}: not read within {_MOST_CPU} s of CPU")
    except OSError as error:
        raise from_oserror(error, path) from None
    return listed.most_used()


class _Counter:
    """Counts entries, and trusts no filter."""

    def __init__(self, towards: Towards, ports: Range) -> None:
        self.found = 0
        self._towards = towards
        self._first, self._last = ports
        self._shared: bytes | None = None  #: of the flows that count, once one was seen

    def take(self, payload: memoryview) -> bool:
        """Count an entry; return False where the first of all should have been left out."""
        entry = parse_entry(payload)
        shared = parse_shared(entry)
        if shared != self._shared:  # there are tens of thousands of entries
            if parse_towards(entry) != self._towards:
                return self._shared is not None
            self._shared = shared
        if not is_closing(entry) and self._first <= parse_port(entry) <= self._last:
            self.found += 1
        return True


def _request(towards: Towards) -> bytes:
    source, destination = CTA_IP[towards.family]
    flags = _IP_SRC | _IP_DST | _PROTO_NUM | _PROTO_SRC_PORT
    return (
        nfgenmsg(towards.family.nfproto)
        + nest(
            CTA_TUPLE_REPLY,
            nest(
                CTA_TUPLE_IP,
                pack(source, towards.destination),
                pack(destination, towards.address),
            ),
            nest(
                CTA_TUPLE_PROTO,
                pack(CTA_PROTO_NUM, bytes([towards.protocol])),
                pack(CTA_PROTO_SRC_PORT, towards.port.to_bytes(2, "big")),
                pack(CTA_PROTO_DST_PORT, bytes(2)),
            ),
        )
        + nest(
            CTA_FILTER,
            pack(CTA_FILTER_ORIG_FLAGS, struct.pack("=I", 0)),
            pack(CTA_FILTER_REPLY_FLAGS, struct.pack("=I", flags)),
        )
    )
