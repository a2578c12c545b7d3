"""Listening sockets from the addresses of the command line."""

from __future__ import annotations

import re
import socket
from typing import NamedTuple

_BACKLOG = 1024
_ADDRESS = re.compile(r"(?:\[(?P<v6>[^][]*)\]|(?P<host>[^][:]*)):(?P<port>[0-9]{1,5})", re.ASCII)


class CannotListen(Exception):
    """An address is in use, not ours, or not known; the text says which and why."""


class Address(NamedTuple):
    """Where to listen; an empty host is every address of the machine, IPv4 and IPv6."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Parse ``:PORT``, ``HOST:PORT`` or ``[IPV6]:PORT``; raise ValueError with what is wrong."""
    matched = _ADDRESS.fullmatch(text)
    if not matched:
        raise ValueError(f"{text!r} is none of :PORT, HOST:PORT, [IPV6]:PORT")
    port = int(matched["port"])
    if port > 65535:
        raise ValueError(f"port {port} is larger than 65535")
    return Address(matched["v6"] or matched["host"] or "", port)


def listen(address: Address) -> socket.socket:
    """Return a socket that listens; raise `CannotListen`."""
    try:
        return _create(address)
    except OSError as error:
        raise CannotListen(f"cannot listen on {address}: {error.strerror or error}") from None
    except UnicodeError as error:  # a host name that no name can be
        raise CannotListen(f"cannot listen on {address}: {error}") from None


def _create(address: Address) -> socket.socket:
    if address.host:
        family, sockaddr = _resolve(address)
        return socket.create_server(sockaddr, family=family, backlog=_BACKLOG)
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ("::", address.port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True
        )
    return socket.create_server(("", address.port), backlog=_BACKLOG)


def _resolve(address: Address) -> tuple[socket.AddressFamily, tuple[str, int]]:
    """Return one address of the host, IPv4 where it has both, as Go's listeners do."""
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, sockaddr = min(found, key=lambda info: info[0] != socket.AF_INET)
    return family, sockaddr  # type: ignore[return-value]  # IPv6 has four parts


def bound_address(listener: socket.socket) -> str:
    """Return where `listener` listens, with the port that the kernel chose for 0."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:  # from systemd
        return str(name)
    return str(Address(*name[:2]))
