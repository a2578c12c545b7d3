"""The TCP sockets of this network namespace that listen.

Source: /proc/net/tcp and tcp6, get_tcp4_sock in net/ipv4/tcp_ipv4.c, get_tcp6_sock in
net/ipv6/tcp_ipv6.c (v6.18). Those that listen come first: tcp_get_idx. What comes behind them is
not read, for there may be a million connections. To find the first of these, the kernel goes over
the hash table of all namespaces: so a read is of one row, and whoever has found the socket reads
no further.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Generator, Iterator

from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.errors import Malformed, NoData, from_oserror
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.listening import Listener

_LISTEN = b"0A"  # TCP_LISTEN, include/net/tcp_states.h
_ROW = 150  #: bytes: as long as a row of tcp, and no longer than one of tcp6
_MAPPED = 0xFFFF << 32  #: ::ffff:0:0/96


def read_listeners(paths: Paths) -> Generator[Listener, None, None]:
    """Yield those of IPv4 and of IPv6; close it behind. Raises `ReadError`.

    One of [::] takes IPv4 too, unless it is for IPv6 only, which the kernel does not say here.
    """
    for family, name in ((Family.IPV4, "net/tcp"), (Family.IPV6, "net/tcp6")):
        path = paths.proc(name)
        for line in _rows(path):
            found = parse_listener(line, family, path)
            if found is None:
                break
            yield found
            if family is Family.IPV6 and found.address in {0, _MAPPED | found.address & 0xFFFFFFFF}:
                yield Listener(Family.IPV4, found.address & 0xFFFFFFFF, found.port)


def _rows(path: str) -> Iterator[bytes]:
    """Yield the rows of a file behind its title; none where the kernel lacks the family."""
    try:
        descriptor = files.open_file(path)
    except NoData:
        return
    try:
        rest, titles = b"", 1
        while chunk := os.read(descriptor, _ROW):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines[titles:]
            titles -= min(titles, len(lines))
    except OSError as error:
        raise from_oserror(error, path) from None
    finally:
        os.close(descriptor)


def parse_listener(line: bytes, family: Family, what: str) -> Listener | None:
    """Parse a row: its number, ADDRESS:PORT, that of the peer, state; None if it does not listen.

    The words of an address are in the host's byte order.
    """
    columns = line.split()
    if len(columns) < 4:
        raise Malformed(f"{what}: a line of {len(columns)} columns; expected at least 4")
    if columns[3] != _LISTEN:
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
