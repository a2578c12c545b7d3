"""ctnetlink: statistics, and single entries by their tuple.

Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h (v6.18). Asking loads
nf_conntrack_netlink where that is a module: pass the gate first. Needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import errno
import functools
import ipaddress
import socket
from typing import NamedTuple

from netfilter_exporter.kernel.conntrack.statistics import COLUMNS, CpuStatistics, Statistics
from netfilter_exporter.kernel.errors import Malformed, Unsupported
from netfilter_exporter.kernel.netlink.attributes import be32, nest, pack
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NetlinkError, nfgenmsg, nfnetlink_map
from netfilter_exporter.rules.families import NFPROTO_UNSPEC, Family

_SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK
IPCTNL_MSG_CT_GET = _SUBSYSTEM | 1
IPCTNL_MSG_CT_DELETE = _SUBSYSTEM | 2
IPCTNL_MSG_CT_GET_STATS_CPU = _SUBSYSTEM | 4

CTA_TUPLE_ORIG = 1
CTA_TUPLE_REPLY = 2
CTA_ID = 12
CTA_TUPLE_IP = 1
CTA_TUPLE_PROTO = 2
CTA_IP_V4_SRC, CTA_IP_V4_DST, CTA_IP_V6_SRC, CTA_IP_V6_DST = 1, 2, 3, 4
CTA_PROTO_NUM = 1
CTA_PROTO_SRC_PORT = 2
CTA_PROTO_DST_PORT = 3

#: The types of a source and a destination in CTA_TUPLE_IP.
CTA_IP = {
    Family.IPV4: (CTA_IP_V4_SRC, CTA_IP_V4_DST),
    Family.IPV6: (CTA_IP_V6_SRC, CTA_IP_V6_DST),
}


class Tuple(NamedTuple):
    """The original direction of a UDP flow between two ports of one address."""

    family: Family
    address: str
    source: int
    destination: int


@functools.lru_cache(maxsize=1)  # a probe asks three times for the same
def message(flow: Tuple) -> bytes:
    """Return a message about `flow`: nfgenmsg and CTA_TUPLE_ORIG."""
    source, destination = CTA_IP[flow.family]
    address = ipaddress.ip_address(flow.address).packed
    return nfgenmsg(flow.family.nfproto) + nest(
        CTA_TUPLE_ORIG,
        nest(
            CTA_TUPLE_IP,
            pack(source, address),
            pack(destination, address),
        ),
        nest(
            CTA_TUPLE_PROTO,
            pack(CTA_PROTO_NUM, bytes([socket.IPPROTO_UDP])),
            pack(CTA_PROTO_SRC_PORT, flow.source.to_bytes(2, "big")),
            pack(CTA_PROTO_DST_PORT, flow.destination.to_bytes(2, "big")),
        ),
    )


def read_statistics(connection: Connection) -> Statistics:
    """Return the raw u32 counters of each CPU; expectations are not among them."""
    return tuple(
        connection.dump(
            "ctnetlink GET_STATS_CPU",
            IPCTNL_MSG_CT_GET_STATS_CPU,
            nfgenmsg(NFPROTO_UNSPEC),
            parse_statistics,
        )
    )


def parse_statistics(payload: memoryview) -> CpuStatistics:
    """Parse the counters of one CPU; an attribute that this kernel lacks is not in the result."""
    found = nfnetlink_map(payload)
    return {
        column.name: be32(found[column.attribute])
        for column in COLUMNS
        if column.attribute is not None and column.attribute in found
    }


def find_entry(connection: Connection, flow: Tuple) -> bytes | None:
    """Return the CTA_ID of the entry of `flow`, None where there is no entry.

    Raises `Unsupported` where the kernel has no ctnetlink: nfnetlink says EINVAL then.
    """
    try:
        answer = connection.ask("ctnetlink CT_GET", IPCTNL_MSG_CT_GET, message(flow))
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return None
        if error.errno == errno.EINVAL:
            raise Unsupported("this kernel has no ctnetlink (nf_conntrack_netlink)") from None
        raise
    found = nfnetlink_map(answer)
    if CTA_TUPLE_ORIG not in found:
        raise Malformed("ctnetlink CT_GET: an entry without its tuple")
    return bytes(found.get(CTA_ID, b""))


def delete_entry(connection: Connection, flow: Tuple, identity: bytes) -> None:
    """Delete the entry of `flow` if it still is the one of `identity`."""
    request = message(flow)
    if identity:
        request += pack(CTA_ID, identity)
    try:
        connection.command("ctnetlink CT_DELETE", IPCTNL_MSG_CT_DELETE, request)
    except NetlinkError as error:
        if error.errno != errno.ENOENT:  # it timed out, or was evicted, in between
            raise
