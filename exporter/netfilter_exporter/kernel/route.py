"""Single routes, as RTM_GETROUTE answers; the routing table is never dumped.

Source: include/uapi/linux/rtnetlink.h (v6.18), inet_rtm_getroute (net/ipv4/route.c),
inet6_rtm_getroute (net/ipv6/route.c). Needs no privilege.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from netfilter_exporter.kernel.addresses import SIZES
from netfilter_exporter.kernel.errors import Malformed
from netfilter_exporter.kernel.netlink.attributes import attribute_map, pack
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NetlinkError
from netfilter_exporter.rules.families import Family

RTM_GETROUTE, RTM_GETRULE = 26, 34
RTA_DST = 1
RTA_SRC = 2
RTA_IIF = 3
RTA_OIF = 4
RTA_GATEWAY = 5
RTA_MULTIPATH = 9
RTA_MARK = 16
RTA_VIA = 18  #: a gateway of the other family
FRA_FWMARK = 10  #: include/uapi/linux/fib_rules.h (v6.18)
RTN_UNICAST, RTN_LOCAL = 1, 2
RTPROT_KERNEL, RTPROT_RA = 2, 9
RTM_F_FIB_MATCH = 0x2000  #: answer with the entry itself; since v4.13

#: struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_RTMSG = struct.Struct("=8BI")
_RULE_HEAD = struct.Struct("=8BI")  # struct fib_rule_hdr
_NEXT_HOP = struct.Struct("=HBBi")  # struct rtnexthop: length, flags, hops, interface
_FAMILY = {4: socket.AF_INET, 16: socket.AF_INET6}
_U32 = struct.Struct("=I")


class Route(NamedTuple):
    """The way to an address."""

    local: bool  #: it ends on this host
    interface: int  #: index
    advertised: bool = False  #: by a router: RTPROT_RA
    on_link: bool = False  #: without a gateway


def ask(connection: Connection, address: bytes) -> Route | None:
    """Return the route to a packed address, as for a packet that this host sends.

    None where there is none, and where it is not for unicast. Raises `ReadError`.
    """
    answer = _ask(connection, address)
    return None if answer is None else parse_route(answer)


def ways_out(
    connection: Connection, destination: bytes, source: bytes, arriving: int, mark: int = 0
) -> tuple[int, ...]:
    """Return the interfaces by which packets with a mark that arrive at one may leave, by index.

    All of a route with several ways, from v4.13 on. None where there is no such route. Raises
    `ReadError`.
    """
    packet = pack(RTA_IIF, _U32.pack(arriving)) + pack(RTA_MARK, _U32.pack(mark))
    answer = _ask(connection, destination, RTM_F_FIB_MATCH, packet, source)
    return () if answer is None else parse_ways(answer)


def read_marks(connection: Connection, family: Family) -> list[int]:
    """Return the marks for which `ip rule` has a rule; raises `ReadError`."""
    request = _RULE_HEAD.pack(_FAMILY[SIZES[family]], 0, 0, 0, 0, 0, 0, 0, 0)
    found = connection.dump("RTM_GETRULE", RTM_GETRULE, request, parse_mark)
    return sorted({mark for mark in found if mark})


def parse_mark(payload: memoryview) -> int:
    """Parse an RTM_NEWRULE message; 0 where the rule is for packets with any mark."""
    mark = attribute_map(payload, _RULE_HEAD.size).get(FRA_FWMARK, memoryview(b""))
    return int(_U32.unpack(mark)[0]) if len(mark) == _U32.size else 0


def leads(connection: Connection, destination: bytes, leaving: int) -> bool:
    """Return whether some route leads to an address by an interface, used or on standby.

    Before v4.13 the answer is always yes. Raises `ReadError`.
    """
    answer = _ask(connection, destination, RTM_F_FIB_MATCH, pack(RTA_OIF, _U32.pack(leaving)))
    return answer is not None and leaving in parse_ways(answer)


def _ask(
    connection: Connection,
    destination: bytes,
    flags: int = 0,
    packet: bytes = b"",
    source: bytes = b"",
) -> memoryview | None:
    """Return the answer of the kernel for packed addresses; None where there is no such route."""
    family, host = _FAMILY[len(destination)], 8 * len(destination)
    head = _RTMSG.pack(family, host, 8 * len(source), 0, 0, 0, 0, 0, flags)
    ends = pack(RTA_DST, destination) + (pack(RTA_SRC, source) if source else b"")
    try:
        return connection.ask("RTM_GETROUTE", RTM_GETROUTE, head + ends + packet)
    except NetlinkError:  # ENETUNREACH, EHOSTUNREACH, EACCES (prohibit), EINVAL (blackhole)
        return None


def parse_ways(payload: memoryview) -> tuple[int, ...]:
    """Parse an RTM_NEWROUTE message to the interfaces of all its ways, of a unicast route."""
    if len(payload) < _RTMSG.size:
        raise Malformed(f"RTM_GETROUTE: a message of {len(payload)} bytes")
    found = attribute_map(payload, _RTMSG.size)
    if payload[7] != RTN_UNICAST:
        return ()
    if RTA_MULTIPATH in found:
        return tuple(dict.fromkeys(_hops(found[RTA_MULTIPATH])))
    if RTA_OIF not in found or len(found[RTA_OIF]) != _U32.size:
        return ()
    return _U32.unpack(found[RTA_OIF])


def _hops(content: memoryview) -> Iterator[int]:
    """Yield the interface of each struct rtnexthop."""
    at = 0
    while at + _NEXT_HOP.size <= len(content):
        length, _, _, interface = _NEXT_HOP.unpack_from(content, at)
        if length < _NEXT_HOP.size:
            raise Malformed(f"RTM_GETROUTE: a next hop of {length} bytes")
        yield interface
        at += (length + 3) & ~3


def is_connected(connection: Connection, address: bytes) -> int | None:
    """Return the interface whose own prefix an address is in, by index.

    None for an address of this host, one behind a gateway or a route that somebody made, and where
    the kernel does not say which entry matches. Raises `ReadError`.
    """
    answer = _ask(connection, address, RTM_F_FIB_MATCH)
    return None if answer is None else parse_connected(answer, 8 * len(address))


def parse_connected(payload: memoryview, host: int) -> int | None:
    """Parse an RTM_NEWROUTE message likewise; `host` is the length of an address's own prefix."""
    found = parse_route(payload)
    length, protocol = payload[1], payload[5]
    if found is None or found.local or not found.on_link or not 0 < length < host:
        return None
    return found.interface if protocol == RTPROT_KERNEL else None


def parse_route(payload: memoryview) -> Route | None:
    """Parse an RTM_NEWROUTE message; None where its type is neither unicast nor local."""
    if len(payload) < _RTMSG.size:
        raise Malformed(f"RTM_GETROUTE: a message of {len(payload)} bytes")
    _, _, _, _, _, protocol, _, type_, _ = _RTMSG.unpack_from(payload)
    if type_ not in {RTN_UNICAST, RTN_LOCAL}:
        return None
    found = attribute_map(payload, _RTMSG.size)
    if RTA_OIF not in found and RTA_MULTIPATH in found:
        return None  # an entry with several ways
    interface = found[RTA_OIF]
    if len(interface) != _U32.size:
        raise Malformed(f"RTM_GETROUTE: an interface of {len(interface)} bytes")
    (index,) = _U32.unpack(interface)
    on_link = RTA_GATEWAY not in found and RTA_VIA not in found
    return Route(type_ == RTN_LOCAL, index, protocol == RTPROT_RA, on_link)
