"""Flows for tests: how the kernel writes them, and how a namespace's are read."""

from __future__ import annotations

import contextlib
import ipaddress
import time
from typing import Any

from netfilter_exporter.kernel.conntrack import flow_table
from netfilter_exporter.kernel.conntrack.flow import Flow, Reading
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netlink.attributes import nest, pack
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER, nfgenmsg
from netfilter_exporter.kernel.netlink.transport import NetlinkSocket

WHOLE = 1 << 30
UNLIMITED = 0.0


def _clock() -> float:
    return UNLIMITED


def connection() -> Connection:
    """Return a connection to the running kernel."""
    return Connection(NetlinkSocket(NETLINK_NETFILTER), time.monotonic() + 30)


def read(origin: str, size: int = WHOLE) -> Reading:
    """Return a reading of this namespace, however long it takes."""
    if origin == "ctnetlink":
        return flow_table.read_ctnetlink(connection(), size, clock=_clock)
    return flow_table.read_procfs(Paths(), size, clock=_clock)


def everything(origin: str) -> tuple[list[Flow], dict[Any, int], bool]:
    """Return all flows of this namespace, the census, and whether that is the whole table."""
    reading = read(origin)
    flows = [reading.flow(index) for index in range(len(reading.keys))]
    return flows, dict(reading.census), reading.complete


def aborted(times: int, size: int = 1 << 15) -> int:
    """Read the head of the table again and again; return how many entries were seen in all."""
    seen = 0
    for number in range(times):
        with contextlib.suppress(FileNotFoundError):
            seen += len(read(("ctnetlink", "procfs")[number % 2], size).keys)
    return seen


def packed(address: str) -> bytes:
    """Return an address as the kernel writes it."""
    return ipaddress.ip_address(address).packed


def tuple_of(type_: int, source: bytes, destination: bytes, protocol: bytes, zone: bytes) -> bytes:
    """Return CTA_TUPLE_ORIG or CTA_TUPLE_REPLY; `protocol` are the attributes behind its number."""
    first = 1 if len(source) == 4 else 3
    addresses = nest(1, pack(first, source), pack(first + 1, destination))
    return nest(type_, addresses, nest(2, protocol), pack(3, zone) if zone else b"")


def entry(nfproto: int, original: bytes, reply: bytes, rest: bytes) -> bytes:
    """Return the payload of an IPCTNL_MSG_CT_NEW message."""
    return nfgenmsg(nfproto) + original + reply + rest
