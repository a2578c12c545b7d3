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


class Xtables(Protocol):
    """The getsockopt interface of legacy tables, for one family."""

    def get(self, option: int, request: bytes, size: int) -> memoryview: ...

    def close(self) -> None: ...


class XtablesSocket:
    """A UDP socket on which a legacy table is read; it needs CAP_NET_ADMIN.

    Reading a table that does not exist creates it: look into ip_tables_names first.
    """

    def __init__(self, family: Family, descriptor: int | None = None) -> None:
        """`descriptor` is that of a socket which is open already, and belongs to this object."""
        socket_family, self._level = _LEVEL[family]
        try:
            self._socket = socket.socket(socket_family, socket.SOCK_DGRAM, fileno=descriptor)
        except OSError as error:
            raise from_oserror(error, f"{family.value} socket") from None

    def get(self, option: int, request: bytes, size: int) -> memoryview:
        """Return what the kernel put into a buffer of `size` bytes that begins with `request`."""
        content = _mapped(size) if size > mmap.PAGESIZE else bytearray(size)
        content[: len(request)] = request
        buffer = (ctypes.c_char * size).from_buffer(content)
        length = ctypes.c_uint32(size)
        descriptor = self._socket.fileno()
        if _getsockopt()(descriptor, self._level, option, buffer, ctypes.byref(length)) != 0:
            number = ctypes.get_errno()
            raise from_oserror(OSError(number, os.strerror(number)), f"getsockopt {option}")
        return memoryview(content)[: length.value]

    def close(self) -> None:
        self._socket.close()


def _mapped(size: int) -> mmap.mmap:
    """Return zeros that can be given back in parts: see `release`."""
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def release(content: memoryview, end: int) -> None:
    """Give the memory of what `get` returned back to the system, up to `end`: it is zero then."""
    mapped = content.obj
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_DONTNEED, 0, end // mmap.PAGESIZE * mmap.PAGESIZE)
