"""Functions of the C library, and system calls that it has no name for; all raise OSError."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Union

_Argument = Union[int, "ctypes.Array[ctypes.c_char]", None]


@functools.lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: _Argument) -> int:
    """Call a function that returns -1 where it fails; a buffer is passed by its address."""
    result: int = getattr(_libc(), name)(*map(_word, arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def syscall(number: int, *arguments: _Argument) -> int:
    """Call a system call by its number."""
    return call("syscall", number, *arguments)


def prctl(option: int, *arguments: int) -> int:
    """Change this thread by an option; arguments that are left out are 0."""
    return call("prctl", option, *(*arguments, 0, 0, 0, 0)[:4])


def _word(argument: _Argument) -> object:
    """An int as wide as a register: what is not given its upper half could be anything."""
    return ctypes.c_long(argument) if isinstance(argument, int) else argument
