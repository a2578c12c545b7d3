"""The capabilities of the process, reduced to what is used.

Source: capabilities(7), include/uapi/linux/capability.h and prctl.h (v6.18).
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import struct
from collections.abc import Iterable
from typing import NamedTuple

from netfilter_exporter.sandbox import libc

CAP_DAC_READ_SEARCH, CAP_NET_ADMIN = 1 << 2, 1 << 12
_PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 24, 47, 4

_HEADER = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
_SETS = struct.Struct("=6I")  # effective, permitted, inheritable: the lower halves, then the upper


class Sets(NamedTuple):
    """Capabilities as bits."""

    effective: int
    permitted: int
    inheritable: int = 0


def read() -> Sets:
    """Return the sets of this thread; raise OSError."""
    data = ctypes.create_string_buffer(_SETS.size)
    libc.call("capget", _header(), data)
    words = _SETS.unpack(data.raw)
    return Sets(*(low | high << 32 for low, high in zip(words[:3], words[3:])))


def reduce(files: Iterable[str]) -> None:
    """Keep CAP_NET_ADMIN only, where it is held; raise OSError where that cannot be had.

    With CAP_DAC_READ_SEARCH, if it is held and one of `files`, which are read again later, could
    not be read without it: a key of another user, where root runs us.
    """
    held = read().permitted
    with contextlib.suppress(OSError):  # nothing can be executed that could gain from these
        _drop_bounding()
    with contextlib.suppress(OSError):
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    used, reads = held & CAP_NET_ADMIN, held & CAP_DAC_READ_SEARCH
    _set(Sets(used, used | reads))
    if reads and not all(map(_is_readable, files)):
        _set(Sets(used | reads, used | reads))
    elif reads:
        _set(Sets(used, used))


def _set(sets: Sets) -> None:
    """Set them, unless no more is held: a filter of systemd's may refuse to."""
    if read() != sets:
        words = [part & 0xFFFFFFFF for part in sets] + [part >> 32 for part in sets]
        try:
            libc.call("capset", _header(), ctypes.create_string_buffer(_SETS.pack(*words)))
        except OSError:
            if read().permitted & ~sets.permitted:
                raise


def _drop_bounding() -> None:
    for number in itertools.count():
        libc.prctl(_PR_CAPBSET_DROP, number)  # raises behind the last


def _header() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(_HEADER)


def _is_readable(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
    except PermissionError:
        return False
    except OSError:
        return True  # not there: no capability brings it back
    return True
