"""The C library's allocator, for a process whose threads take turns."""

from __future__ import annotations

import ctypes

#: Parameters of mallopt(3), of glibc's malloc.h.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
#: Bytes; glibc's default, which grows with what is freed unless it is set.
_THRESHOLD = 128 << 10


def give_back() -> None:
    """Have large blocks given back as soon as they are freed, and one heap for all threads.

    By default each thread has a heap with gaps, and blocks of up to 32 MiB go there, too, once one
    of that size was freed: 3 MB at rest, and 6 after a ruleset was read. Only glibc does so.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _THRESHOLD)
