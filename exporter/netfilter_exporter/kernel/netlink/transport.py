"""The netlink socket: whole datagrams, in time.

Source: net/netlink/af_netlink.c (v6.18).
"""

from __future__ import annotations

import errno
import socket
import sys
from typing import Protocol

from netfilter_exporter.kernel.errors import Malformed, TimedOut, Unsupported, from_oserror

#: A dump fills at most 32 KiB a datagram (netlink_dump, net/netlink/af_netlink.c, since v4.6).
_BUFFER = 1 << 17
_WHOLE = int(socket.MSG_TRUNC)  # the kernel returns the true length of the datagram
_SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h
_AT_ONCE = _WHOLE | int(socket.MSG_DONTWAIT)


class Transport(Protocol):
    """A netlink socket, or its double in the tests."""

    def send(self, datagram: bytes) -> None: ...

    def receive(self, timeout: float) -> memoryview:
        """Return the next datagram; raise `TimedOut` when none comes within `timeout` seconds."""

    def close(self) -> None: ...


class NetlinkSocket:
    """A netlink socket of the running kernel.

    Opening NETLINK_NETFILTER loads nfnetlink where that is a module, and joining a group loads
    what sends to it (nfnetlink_bind, v6.18): ask a gate first.
    """

    def __init__(self, protocol: int, group: int = 0, descriptor: int | None = None) -> None:
        """`group` is the one to join, to receive what the kernel sends to it.

        `descriptor` is that of a socket which is open already, and belongs to this object now.
        """
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW, protocol, fileno=descriptor
            )
        except OSError as error:
            if error.errno == errno.EPROTONOSUPPORT:
                raise Unsupported(f"netlink protocol {protocol}: not in this kernel") from None
            raise from_oserror(error, f"netlink protocol {protocol}") from None
        self._buffer = memoryview(bytearray(_BUFFER))
        if group:
            self._join(group)

    def _join(self, group: int) -> None:
        try:
            self._socket.bind((0, 1 << group - 1))
        except OSError as error:
            self.close()
            raise from_oserror(error, "netlink bind") from None

    def send(self, datagram: bytes) -> None:
        try:
            self._socket.send(datagram)
        except OSError as error:
            raise from_oserror(error, "netlink send") from None

    def receive(self, timeout: float) -> memoryview:
        try:
            size = self._receive(timeout)
        except OSError as error:
            raise from_oserror(error, "netlink receive") from None
        if size > _BUFFER:
            raise Malformed(f"netlink: a datagram of {size} bytes was cut at {_BUFFER}")
        return memoryview(bytes(self._buffer[:size]))

    def _receive(self, timeout: float) -> int:
        try:
            # The kernel answers within send(): usually there is nothing to wait for.
            return self._socket.recv_into(self._buffer, _BUFFER, _AT_ONCE)
        except BlockingIOError:
            return self._wait(timeout)

    def _wait(self, timeout: float) -> int:
        self._socket.settimeout(timeout)
        try:
            return self._socket.recv_into(self._buffer, _BUFFER, _WHOLE)
        except socket.timeout:
            raise TimedOut(f"netlink: no answer within {timeout:.1f} s") from None
        finally:
            self._socket.settimeout(None)

    def cookie(self) -> int:
        """Return the number of the network namespace, which no other ever has; 0 before v5.14."""
        try:
            content = self._socket.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError:
            return 0
        return int.from_bytes(content, sys.byteorder)

    def close(self) -> None:
        self._socket.close()
