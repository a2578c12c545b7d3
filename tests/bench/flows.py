"""Many connection tracking entries at once, made through ctnetlink without a packet.

Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h (v6.18). Run inside the namespace that
gets them: python tests/bench/flows.py COUNT
"""

from __future__ import annotations

import socket
import struct
import sys

NETLINK_NETFILTER = 12
IPCTNL_MSG_CT_NEW = 0x0100
NLM_F_REQUEST, NLM_F_ACK, NLM_F_CREATE = 0x1, 0x4, 0x400
SO_SNDBUFFORCE = 32
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_TIMEOUT = 1, 2, 7
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
CTA_IP_V4_SRC, CTA_IP_V4_DST = 1, 2
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
SECONDS = 3600
BATCH = 500


def main(argv: list[str]) -> int:
    make(0, int(argv[1]))
    return 0


def make(begin: int, end: int) -> None:
    """Make the flows with these numbers."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
        kernel.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 1 << 24)
        for first in range(begin, end, BATCH):
            kernel.send(b"".join(_new(number) for number in range(first, min(first + BATCH, end))))
            _refused(kernel)


def _refused(kernel: socket.socket) -> None:
    """Raise what the kernel says of a batch: it is silent about what it has made."""
    try:
        answer = kernel.recv(1 << 16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return
    (number,) = struct.unpack_from("=i", answer, 16)
    raise OSError(-number, "ctnetlink refused an entry")


def _new(number: int) -> bytes:
    """Return the request for a UDP flow of its own; template and numbers, for there are many."""
    source = struct.pack(">I", 0x0A000000 | number >> 4)
    port = struct.pack(">H", 1024 + (number & 15))
    body = (
        b"\x02\0\0\0"
        + _nest(CTA_TUPLE_ORIG, _tuple(source, b"\xc6\x33\x64\x01", port, b"\0\x35"))
        + _nest(CTA_TUPLE_REPLY, _tuple(b"\xc6\x33\x64\x01", source, b"\0\x35", port))
        + _attribute(CTA_TIMEOUT, struct.pack(">I", SECONDS))
    )
    flags = NLM_F_REQUEST | NLM_F_CREATE
    return struct.pack("=IHHII", 16 + len(body), IPCTNL_MSG_CT_NEW, flags, 1, 0) + body


def _tuple(source: bytes, destination: bytes, source_port: bytes, destination_port: bytes) -> bytes:
    addresses = _attribute(CTA_IP_V4_SRC, source) + _attribute(CTA_IP_V4_DST, destination)
    protocol = (
        _attribute(CTA_PROTO_NUM, bytes([socket.IPPROTO_UDP]))
        + _attribute(CTA_PROTO_SRC_PORT, source_port)
        + _attribute(CTA_PROTO_DST_PORT, destination_port)
    )
    return _nest(CTA_TUPLE_IP, addresses) + _nest(CTA_TUPLE_PROTO, protocol)


def _nest(type_: int, value: bytes) -> bytes:
    return _attribute(type_ | 0x8000, value)


def _attribute(type_: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), type_) + value + bytes(-len(value) % 4)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
