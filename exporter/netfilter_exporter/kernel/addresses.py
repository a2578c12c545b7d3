"""The addresses of this host, as its interfaces have them.

Source: inet_dump_ifaddr (net/ipv4/devinet.c) and inet6_dump_ifaddr (net/ipv6/addrconf.c, v6.18),
include/uapi/linux/if_addr.h. rtnetlink is always present: the request loads nothing.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

from netfilter_exporter.kernel.errors import Malformed
from netfilter_exporter.kernel.netlink.attributes import attribute_map
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.rules.families import Family

RTM_GETADDR = 22
IFA_ADDRESS = 1  #: of the other end, on a point-to-point interface
IFA_LOCAL = 2  #: IPv4, and IPv6 addresses with a peer
_HEAD = struct.Struct("=4BI")  # struct ifaddrmsg: family, prefixlen, flags, scope, index
_IFADDRMSG = _HEAD.size
SIZES = {Family.IPV4: 4, Family.IPV6: 16}  #: bytes of a packed address


def read_addresses(connection: Connection, family: Family) -> frozenset[int]:
    """Return the addresses of all interfaces as numbers, the first byte the most significant."""
    request = struct.pack("=B7x", family.nfproto)
    found = connection.dump("RTM_GETADDR", RTM_GETADDR, request, parse_address)
    return frozenset(int.from_bytes(each, "big") for each in found if len(each) == SIZES[family])


class Network(NamedTuple):
    """The network of an address: its first and last number."""

    interface: int  #: index
    first: int
    last: int

    def overlaps(self, other: Network) -> bool:
        """Return whether some address is in both."""
        return self.first <= other.last and other.first <= self.last


def read_networks(connection: Connection, family: Family) -> list[Network]:
    """Return the network of each address of an interface."""
    request = struct.pack("=B7x", family.nfproto)
    found = connection.dump("RTM_GETADDR", RTM_GETADDR, request, parse_network)
    return [each for each in found if each is not None]


def parse_network(payload: memoryview) -> Network | None:
    """Parse one RTM_NEWADDR; None where its prefix is longer than its address."""
    address = attribute_map(payload, _IFADDRMSG).get(IFA_ADDRESS, memoryview(b""))
    _, length, _, _, index = _HEAD.unpack_from(payload)
    rest = 8 * len(address) - length
    if not address or rest < 0:
        return None
    first = int.from_bytes(address, "big") >> rest << rest
    return Network(index, first, first | (1 << rest) - 1)


def packed(family: Family, number: int) -> bytes:
    """Return an address as bytes."""
    return number.to_bytes(SIZES[family], "big")


def written(family: Family, number: int) -> str:
    """Return an address as people write it."""
    return str(ipaddress.ip_address(packed(family, number)))


def parse_address(payload: memoryview) -> bytes:
    """Parse one RTM_NEWADDR."""
    found = attribute_map(payload, _IFADDRMSG)
    address = found.get(IFA_LOCAL, found.get(IFA_ADDRESS))
    if address is None:
        raise Malformed("RTM_NEWADDR: no address")
    return bytes(address)
