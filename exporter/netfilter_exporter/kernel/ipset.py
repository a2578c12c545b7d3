"""The sets of ipset(8): how many elements one has, by its number.

Source: include/uapi/linux/netfilter/ipset/ip_set.h, ip_set_get_byindex and ip_set_dump_do in
net/netfilter/ipset/ip_set_core.c (v6.18). Asking loads ip_set where that is a module: pass the gate
first. Kernels before 4.20 have no IPSET_CMD_GET_BYINDEX and refuse. Needs CAP_NET_ADMIN.
"""

from __future__ import annotations

from typing import NamedTuple

from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.errors import Malformed
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netlink.attributes import attribute_map, be32, pack, pack_name, text
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import nfgenmsg, nfnetlink_map

NFNL_SUBSYS_IPSET = 6
IPSET_CMD_LIST = NFNL_SUBSYS_IPSET << 8 | 7
IPSET_CMD_GET_BYINDEX = NFNL_SUBSYS_IPSET << 8 | 15
_IPSET_PROTOCOL = 7
_IPSET_ATTR_PROTOCOL = 1
_IPSET_ATTR_SETNAME = 2
_IPSET_ATTR_FLAGS = 6
_IPSET_ATTR_DATA = 7
_IPSET_ATTR_INDEX = 11
_IPSET_ATTR_ELEMENTS = 24
_IPSET_FLAG_LIST_HEADER = 4
_NLA_F_NET_BYTEORDER = 0x4000


class Ipset(NamedTuple):
    """A set of ipset(8)."""

    name: str
    elements: int


def is_present(paths: Paths) -> bool:
    """Return whether ip_set is loaded or built in: it has a parameter, and so this directory."""
    return files.exists(paths.sys("module/ip_set"))


def read_ipset(connection: Connection, number: int) -> Ipset | None:
    """Return the set with a number; None where the kernel does not count its elements."""
    head = nfgenmsg(0) + pack(_IPSET_ATTR_PROTOCOL, bytes((_IPSET_PROTOCOL,)))
    index = pack(_IPSET_ATTR_INDEX | _NLA_F_NET_BYTEORDER, number.to_bytes(2, "big"))
    answer = connection.ask("ipset GET_BYINDEX", IPSET_CMD_GET_BYINDEX, head + index)
    name = text(nfnetlink_map(answer)[_IPSET_ATTR_SETNAME])
    flags = pack(
        _IPSET_ATTR_FLAGS | _NLA_F_NET_BYTEORDER, _IPSET_FLAG_LIST_HEADER.to_bytes(4, "big")
    )
    request = head + pack_name(_IPSET_ATTR_SETNAME, name) + flags
    found = connection.dump("ipset LIST", IPSET_CMD_LIST, request, parse_elements)
    counted = [number for number in found if number is not None]
    return Ipset(name, sum(counted)) if counted else None


def parse_elements(payload: memoryview) -> int | None:
    """Parse the header of a set: the number of its elements (list, hash and bitmap types)."""
    data = nfnetlink_map(payload).get(_IPSET_ATTR_DATA)
    if data is None:
        return None
    found = attribute_map(data).get(_IPSET_ATTR_ELEMENTS)
    if found is not None and len(found) != 4:
        raise Malformed(f"ipset LIST: a number of {len(found)} bytes")
    return None if found is None else be32(found)
