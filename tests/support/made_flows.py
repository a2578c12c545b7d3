"""Entries of connection tracking, made through ctnetlink without a packet.

Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h (v6.18). They are made in the namespace
of the process, at two microseconds each in the kernel: a template and numbers, for there are many.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

NETLINK_NETFILTER = 12
IPCTNL_MSG_CT_NEW, IPCTNL_MSG_CT_DELETE = 0x0100, 0x0102
NLM_F_REQUEST, NLM_F_CREATE = 0x1, 0x400
SO_SNDBUFFORCE = 32
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_TIMEOUT = 1, 2, 7
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_IP_V4_SRC, CTA_IP_V4_DST = 1, 2
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
SECONDS = 3600
BATCH = 500

#: An IPv4 address and a port, as they stand in a packet.
End = tuple[bytes, bytes]


def make(requests: Iterable[bytes]) -> None:
    """Send requests, of `udp` or to end; raises OSError where the kernel refuses one."""
    waiting: list[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
        kernel.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 24)
        for request in requests:
            waiting.append(request)
            if len(waiting) == BATCH:
                _send(kernel, waiting)
        _send(kernel, waiting)


def udp(source: End, destination: End, translated: End | None = None) -> bytes:
    """Return the request for a UDP flow, whose source may be translated."""
    body = (
        b"\x02\0\0\0"
        + _nest(CTA_TUPLE_ORIG, _tuple(source, destination))
        + _nest(CTA_TUPLE_REPLY, _tuple(destination, translated or source))
        + _attribute(CTA_TIMEOUT, struct.pack(">I", SECONDS))
    )
    flags = NLM_F_REQUEST | NLM_F_CREATE
    return struct.pack("=IHHII", 16 + len(body), IPCTNL_MSG_CT_NEW, flags, 1, 0) + body


def ending(request: bytes) -> bytes:
    """Return the request that ends the flow which `request` made."""
    return request[:4] + struct.pack("=HH", IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST) + request[8:]


def _send(kernel: socket.socket, waiting: list[bytes]) -> None:
    """Send a batch, and raise what the kernel says of it: it is silent about what it has made."""
    if not waiting:
        return
    kernel.send(b"".join(waiting))
    waiting.clear()
    try:
        answer = kernel.recv(1 << 16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return
    (number,) = struct.unpack_from("=i", answer, 16)
    raise OSError(-number, "ctnetlink refused an entry")


def _tuple(source: End, destination: End) -> bytes:
    addresses = _attribute(CTA_IP_V4_SRC, source[0]) + _attribute(CTA_IP_V4_DST, destination[0])
    protocol = (
        _attribute(CTA_PROTO_NUM, bytes([socket.IPPROTO_UDP]))
        + _attribute(CTA_PROTO_SRC_PORT, source[1])
        + _attribute(CTA_PROTO_DST_PORT, destination[1])
    )
    return _nest(CTA_TUPLE_IP, addresses) + _nest(CTA_TUPLE_PROTO, protocol)


def _nest(type_: int, value: bytes) -> bytes:
    return _attribute(type_ | 0x8000, value)


def _attribute(type_: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), type_) + value + bytes(-len(value) % 4)
