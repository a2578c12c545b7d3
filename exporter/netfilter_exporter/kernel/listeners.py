"""The TCP sockets of this network namespace that listen, and the UDP ones that take datagrams.

Source: /proc/net/tcp and tcp6, get_tcp4_sock in net/ipv4/tcp_ipv4.c, get_tcp6_sock in
net/ipv6/tcp_ipv6.c (v6.18). Those that listen come first: tcp_get_idx. What comes behind them is
not read, for there may be a million connections. To find the first of these, the kernel goes over
the hash table of all namespaces: so a read is of one row, and whoever has found the socket reads
no further.

/proc/net/udp and udp6, udp4_format_sock in net/ipv4/udp.c, udp6_seq_show in net/ipv6/udp.c (v6.18):
also those of the kernel (WireGuard, VXLAN). Of connected ones nobody but their peer is heard. For
each read the kernel begins at the first socket (udp_get_idx): so it is of as many rows as a page
holds, and with too many sockets nothing is known.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Generator, Iterator

from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.errors import Malformed, NoData, from_oserror
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.rules.families import TCP, Family
from netfilter_exporter.rules.listening import Listener

_LISTEN, _UNCONNECTED = b"0A", b"07"  # TCP_LISTEN, TCP_CLOSE: include/net/tcp_states.h
_ROW = 150  #: bytes: as long as a row of tcp, and no longer than one of tcp6
_PAGE = 4096
#: UDP sockets of a family that are read: on 6.18 1 000 took 2 ms, 5 000 24 ms, 9 000 56 ms.
_MOST_UDP = 4096
_MAPPED = 0xFFFF << 32  #: ::ffff:0:0/96


def read_listeners(paths: Paths, protocol: int) -> Generator[Listener, None, None]:
    """Yield those of IPv4 and of IPv6; close it behind. Raises `ReadError`.

    One of [::] takes IPv4 too, unless it is for IPv6 only, which the kernel does not say here.
    """
    read, name = (_tcp, "net/tcp") if protocol == TCP else (_udp, "net/udp")
    for family, path in ((Family.IPV4, paths.proc(name)), (Family.IPV6, paths.proc(f"{name}6"))):
        if family is Family.IPV6 and not files.exists(path):
            return  # a kernel without IPv6
        for found in read(path, family):
            yield found
            if family is Family.IPV6 and found.address in {0, _MAPPED | found.address & 0xFFFFFFFF}:
                yield Listener(Family.IPV4, found.address & 0xFFFFFFFF, found.port)


def _tcp(path: str, family: Family) -> Iterator[Listener]:
    for line in _rows(path, _ROW):
        found = parse_listener(line, family, path)
        if found is None:
            return
        yield found


def _udp(path: str, family: Family) -> Iterator[Listener]:
    for number, line in enumerate(_rows(path, _PAGE)):
        if number >= _MOST_UDP:
            raise NoData(f"{path}: more than {_MOST_UDP} sockets")
        found = parse_listener(line, family, path, _UNCONNECTED)
        if found is not None:
            yield found


def _rows(path: str, size: int) -> Iterator[bytes]:
    """Yield the rows of a file behind its title."""
    descriptor = files.open_file(path)
    try:
        rest, titles = b"", 1
        while chunk := os.read(descriptor, size):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines[titles:]
            titles -= min(titles, len(lines))
    except OSError as error:
        raise from_oserror(error, path) from None
    finally:
        os.close(descriptor)


def parse_listener(
    line: bytes, family: Family, what: str, state: bytes = _LISTEN
) -> Listener | None:
    """Parse a row: its number, ADDRESS:PORT, that of the peer, state; None if in another state.

    The words of an address are in the host's byte order.
    """
    columns = line.split()
    if len(columns) < 4:
        raise Malformed(f"{what}: a line of {len(columns)} columns; expected at least 4")
    if columns[3] != state:
        return None
    address, _, port = columns[1].partition(b":")
    try:
        words = bytes.fromhex(address.decode())
        numbers = struct.unpack(f"={len(words) // 4}I", words)
        return Listener(
            family, int.from_bytes(struct.pack(f">{len(numbers)}I", *numbers), "big"), int(port, 16)
        )
    except (ValueError, struct.error) as error:
        raise Malformed(f"{what}: {error}") from None
