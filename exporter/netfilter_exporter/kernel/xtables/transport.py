"""getsockopt with a request in the buffer, which Python's socket.getsockopt cannot send."""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import socket
from typing import Callable, Protocol, cast

from netfilter_exporter.kernel.errors import from_oserror
from netfilter_exporter.rules.families import Family

#: SOL_IP and SOL_IPV6, each with the socket family that carries it.
_LEVEL = {
    Family.IPV4: (socket.AF_INET, socket.IPPROTO_IP),
    Family.IPV6: (socket.AF_INET6, socket.IPPROTO_IPV6),
}


@functools.lru_cache(maxsize=1)
def _getsockopt() -> Callable[..., int]:
    return cast("Callable[..., int]", ctypes.CDLL(None, use_errno=True).getsockopt)


def forget(content: memoryview, end: int) -> None:
    """Give back the memory of a large answer up to byte `end`; that part is zero from then on."""
    if isinstance(content.obj, mmap.mmap):
        whole = end & ~(mmap.PAGESIZE - 1)
        if whole:
            content.obj.madvise(mmap.MADV_DONTNEED, 0, whole)


class Xtables(Protocol):
    """The getsockopt interface of legacy tables, for one family."""

    def get(self, option: int, request: bytes, size: int) -> memoryview: ...

    def close(self) -> None: ...


class XtablesSocket:
    """A UDP socket on which a legacy table is read; it needs CAP_NET_ADMIN.

    Reading a table that does not exist creates it: look into ip_tables_names first.
    """

    def __init__(self, family: Family) -> None:
        socket_family, self._level = _LEVEL[family]
        try:
            self._socket = socket.socket(socket_family, socket.SOCK_DGRAM)
        except OSError as error:
            raise from_oserror(error, f"{family.value} socket") from None

    def get(self, option: int, request: bytes, size: int) -> memoryview:
        """Return what the kernel put into a buffer of `size` bytes that begins with `request`."""
        buffer = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        buffer[: len(request)] = request
        place = ctypes.byref(ctypes.c_char.from_buffer(buffer))
        length = ctypes.c_uint32(size)
        descriptor = self._socket.fileno()
        if _getsockopt()(descriptor, self._level, option, place, ctypes.byref(length)) != 0:
            number = ctypes.get_errno()
            raise from_oserror(OSError(number, os.strerror(number)), f"getsockopt {option}")
        return memoryview(buffer)[: length.value]

    def close(self) -> None:
        self._socket.close()
