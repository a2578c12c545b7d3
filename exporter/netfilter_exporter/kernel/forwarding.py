"""Whether this host forwards, and through which of its interfaces.

Source: net/ipv4/devinet.c and net/ipv6/addrconf.c (inet_netconf_dump_devconf and its IPv6
sister, v6.18), include/uapi/linux/netconf.h. rtnetlink is always there: asking loads nothing.
"""

from __future__ import annotations

import struct
from typing import Callable, NamedTuple

from netfilter_exporter.kernel import files, kept_files
from netfilter_exporter.kernel.errors import Malformed, NoData
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netlink.attributes import attribute_places, pack
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.parser_cache import Parsed, parser_cache
from netfilter_exporter.rules.families import Family

RTM_GETNETCONF = 82
NETCONFA_IFINDEX = 1
NETCONFA_FORWARDING = 2
NETCONFA_RP_FILTER = 3  # IPv4 alone
NETCONFA_IFINDEX_ALL = -1
LOOPBACK_IFINDEX = 1  # include/net/flow.h, in each namespace
_READ = (NETCONFA_IFINDEX, NETCONFA_FORWARDING, NETCONFA_RP_FILTER)
_S32 = struct.Struct("=i")
_NETCONFMSG = 4  # struct netconfmsg, aligned

IPV4_FORWARD = "sys/net/ipv4/ip_forward"
IPV6_CONF = "sys/net/ipv6/conf"


#: rp_filter: what an answer would leave by another interface is dropped (RFC 3704, strict mode).
STRICT = 1


class InterfaceForwarding(NamedTuple):
    ifindex: int  #: below zero: NETCONFA_IFINDEX_ALL and NETCONFA_IFINDEX_DEFAULT
    forwarding: bool
    rp_filter: int = 0  #: its own; that of all interfaces counts where it is larger


def read_interfaces(connection: Connection, family: Family) -> dict[int, InterfaceForwarding]:
    """Return the switches of each interface, by index; one dump, whatever their number.

    Of rp_filter the value that is in effect: the larger one of the interface's and of all.
    """
    found = _read_switches(connection, family, make_parser())
    of_all = found[NETCONFA_IFINDEX_ALL].rp_filter if NETCONFA_IFINDEX_ALL in found else 0
    return {
        ifindex: each._replace(rp_filter=max(each.rp_filter, of_all))
        for ifindex, each in found.items()
        if ifindex > 0
    }


Parser = Callable[[memoryview], InterfaceForwarding]


def make_parser() -> Parser:
    """Return what parses RTM_NEWNETCONF, for several dumps."""
    return parser_cache(parse_netconf)


def read_forwards(connection: Connection, family: Family, parse: Parser) -> bool:
    """Return whether an interface but lo forwards IPv4, or the switch of all forwards IPv6."""
    if family is Family.IPV6:
        of_all = pack(NETCONFA_IFINDEX, _S32.pack(NETCONFA_IFINDEX_ALL))
        request = struct.pack("=B3x", family.nfproto) + of_all
        answer = connection.ask("RTM_GETNETCONF", RTM_GETNETCONF, request)
        return parse(answer).forwarding
    found = _read_switches(connection, family, parse)
    return any(each.forwarding for ifindex, each in found.items() if ifindex > LOOPBACK_IFINDEX)


def _read_switches(
    connection: Connection, family: Family, parse: Parser
) -> dict[int, InterfaceForwarding]:
    """Return the switches of each interface, and those of all and of new ones, by index."""
    request = struct.pack("=B3x", family.nfproto)
    dumped = connection.dump("RTM_GETNETCONF", RTM_GETNETCONF, request, parse)
    return {each.ifindex: each for each in dumped}


def parse_netconf(payload: memoryview) -> Parsed[InterfaceForwarding]:
    """Parse one RTM_NEWNETCONF; the values of its attributes decide nothing of its layout."""
    places = {
        type_: slice(start, end)
        for type_, start, end in attribute_places(payload, _NETCONFMSG, len(payload))
    }
    if not places.keys() >= {NETCONFA_IFINDEX, NETCONFA_FORWARDING}:
        raise Malformed("RTM_NEWNETCONF: no index of the interface, or no switch")
    numbers = [places[type_] for type_ in _READ if type_ in places]
    if any(number.stop - number.start != _S32.size for number in numbers):
        raise Malformed("RTM_NEWNETCONF: a number that is not 32 bits")
    starts, unpack = [number.start for number in numbers], _S32.unpack_from

    def make(message: memoryview) -> InterfaceForwarding:
        ifindex, forwarding, *rp_filter = [unpack(message, start)[0] for start in starts]
        return InterfaceForwarding(ifindex, bool(forwarding), *rp_filter)

    return Parsed(make, places.values())


def read_ipv4_switch(paths: Paths) -> bool:
    """Return net.ipv4.ip_forward, what a new interface starts with, not what forwards."""
    return bool(kept_files.read_int(paths.proc(IPV4_FORWARD)))


def read_ipv6(paths: Paths) -> bool:
    """Return whether IPv6 is forwarded: conf.all decides, unless an interface is forced.

    Some kernels have IF.force_forwarding (seen on 6.18); IF.forwarding only makes it a router.
    """
    try:
        if kept_files.read_int(paths.proc(f"{IPV6_CONF}/all/forwarding")):
            return True
    except NoData:
        return False  # no IPv6 in this kernel, or ipv6.disable=1
    if not may_force_ipv6(paths):
        return False
    names = files.listing(paths.proc(IPV6_CONF))
    return any(_forced(paths, name) for name in names if name not in {"all", "default", "lo"})


def may_force_ipv6(paths: Paths) -> bool:
    """Return whether this kernel can forward IPv6 by interface."""
    return files.exists(paths.proc(f"{IPV6_CONF}/all/force_forwarding"))


def _forced(paths: Paths, name: str) -> bool:
    try:
        return bool(files.read_int(paths.proc(f"{IPV6_CONF}/{name}/force_forwarding")))
    except NoData:
        return False  # the interface has just gone


def ignores_advertisements(paths: Paths, interface: str) -> bool:
    """Return whether an interface ignores router advertisements because it forwards.

    ipv6_accept_ra (include/net/ipv6.h, v6.18): a router takes them with accept_ra 2 alone. With 0
    a program of the host takes them: systemd-networkd and NetworkManager do.
    """
    conf = f"{IPV6_CONF}/{interface}"
    try:
        return (
            files.read_int(paths.proc(f"{conf}/accept_ra")) == 1
            and files.read_int(paths.proc(f"{conf}/forwarding")) == 1
        )
    except NoData:
        return False  # the interface has just gone
