"""Single neighbors, as RTM_GETNEIGH answers; the table is never dumped.

Source: include/uapi/linux/neighbour.h, neigh_get in net/core/neighbour.c (v6.18; single entries
since v5.0). Needs no privilege.
"""

from __future__ import annotations

import errno
import socket
import struct

from netfilter_exporter.kernel.errors import Malformed, Unsupported
from netfilter_exporter.kernel.netlink.attributes import pack
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NetlinkError

RTM_GETNEIGH = 30
_NDA_DST = 1
_NTF_PROXY = 0x08
#: struct ndmsg: family, interface, state, flags, type
_NDMSG = struct.Struct("=B3xiHBB")
_FAMILY = {4: socket.AF_INET, 16: socket.AF_INET6}
#: NUD_REACHABLE, NUD_STALE, NUD_DELAY, NUD_PROBE, NUD_NOARP, NUD_PERMANENT
_VALID = 0x02 | 0x04 | 0x08 | 0x10 | 0x40 | 0x80


def is_neighbor(connection: Connection, interface: int, address: bytes) -> bool:
    """Return whether another host is known to have a packed address on an interface's network.

    Raises `Unsupported` where the kernel does not answer for single neighbors.
    """
    answer = _ask(connection, interface, address, 0)
    if answer is None:
        return False
    if len(answer) < _NDMSG.size:
        raise Malformed(f"RTM_GETNEIGH: a message of {len(answer)} bytes")
    return bool(_NDMSG.unpack_from(answer)[2] & _VALID)


def is_proxied(connection: Connection, interface: int, address: bytes) -> bool:
    """Return whether this host answers for a packed address on an interface's network."""
    return _ask(connection, interface, address, _NTF_PROXY) is not None


def _ask(connection: Connection, interface: int, address: bytes, flags: int) -> memoryview | None:
    head = _NDMSG.pack(_FAMILY[len(address)], interface, 0, flags, 0)
    try:
        return connection.ask("RTM_GETNEIGH", RTM_GETNEIGH, head + pack(_NDA_DST, address))
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return None
        if error.errno in {errno.EOPNOTSUPP, errno.EINVAL}:
            raise Unsupported(str(error)) from None
        raise
