"""A router on the link that advertises itself, as RFC 4861 says."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

from lab.peer import namespace

_ROUTER_ADVERTISEMENT = 134
_INTERVAL = 1.0
_HOPS = 255  # others are ignored


class Advertiser:
    """Sends from an interface of a namespace until `close`."""

    def __init__(self, name: str, interface: str, lifetime: int) -> None:
        """The route that others learn lasts `lifetime` seconds."""
        with namespace(name):
            self._socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            self._to = ("ff02::1", 0, 0, socket.if_nametoindex(interface))
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOPS)
        # type, code, checksum (the kernel's), hop limit, flags, lifetime, two timers
        self._message = struct.pack("!BBHBBHII", _ROUTER_ADVERTISEMENT, 0, 0, 64, 0, lifetime, 0, 0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        while not self._ended.wait(_INTERVAL):
            with contextlib.suppress(OSError):
                self._socket.sendto(self._message, self._to)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()
