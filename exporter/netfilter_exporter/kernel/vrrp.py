"""Whether a program speaks VRRP or CARP, and so lacks or has addresses on purpose.

Source: raw_seq_show in net/ipv4/raw.c, raw6_seq_show in net/ipv6/raw.c (v6.18): the port of a raw
socket is its protocol.
"""

from __future__ import annotations

from netfilter_exporter.kernel.errors import NoData
from netfilter_exporter.kernel.files import Paths, read_bytes

_VRRP = b":0070"  # IPPROTO_VRRP is 112


def is_spoken(paths: Paths) -> bool:
    """Return whether a raw socket of this namespace receives protocol 112."""
    return any(parse_raw(_read(paths, name)) for name in ("net/raw", "net/raw6"))


def parse_raw(content: bytes) -> bool:
    """Return whether a line of /proc/net/raw is a socket of protocol 112."""
    columns = (line.split() for line in content.splitlines()[1:])
    return any(len(found) > 1 and found[1].endswith(_VRRP) for found in columns)


def _read(paths: Paths, name: str) -> bytes:
    try:
        return read_bytes(paths.proc(name))
    except NoData:
        return b""
