"""Programs of classic BPF over a system call: they load, compare, and return a verdict.

Source: include/uapi/linux/filter.h, bpf_common.h and seccomp.h (v6.18).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, if false, constant
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_ALU|BPF_AND|BPF_K, BPF_RET
_EQUAL, _GREATER, _AT_LEAST, _ANY_BIT = 0x15, 0x25, 0x35, 0x45  # BPF_JMP|BPF_J*|BPF_K

#: Offsets in struct seccomp_data. Of an argument the lower half: all that are judged are ints.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO

Program = list[tuple[int, int, int, int]]

NUMBER: Program = [(_LOAD, 0, 0, _NUMBER)]
ARCHITECTURE: Program = [(_LOAD, 0, 0, _ARCHITECTURE)]
ALLOW: Program = [(_RETURN, 0, 0, _ALLOW)]


def argument(index: int, mask: int | None = None) -> Program:
    """Load an argument, counted from 0, or those bits of it."""
    load = (_LOAD, 0, 0, _ARGUMENTS + 8 * index)
    return [load] if mask is None else [load, (_AND, 0, 0, mask)]


def fail(errno: int) -> Program:
    """End: the call fails with `errno` and is not made."""
    return [(_RETURN, 0, 0, _ERRNO | errno)]


def if_equal(constant: int, block: Program) -> Program:
    """Do `block` where what is loaded is `constant`."""
    return [(_EQUAL, 0, len(block), constant), *block]


def unless_equal(constant: int, block: Program) -> Program:
    """Do `block` where it is anything else."""
    return [(_EQUAL, len(block), 0, constant), *block]


def if_in(constants: Iterable[int], block: Program) -> Program:
    """Do `block`, which ends the program, where it is any of `constants`."""
    return [step for constant in constants for step in if_equal(constant, block)]


def if_greater(constant: int, block: Program) -> Program:
    """Do `block` where it is greater."""
    return [(_GREATER, 0, len(block), constant), *block]


def if_at_least(constant: int, block: Program) -> Program:
    """Do `block` where it is equal or greater."""
    return [(_AT_LEAST, 0, len(block), constant), *block]


def if_any_bit(mask: int, block: Program) -> Program:
    """Do `block` where any bit of `mask` is set."""
    return [(_ANY_BIT, 0, len(block), mask), *block]


def packed(program: Program) -> bytes:
    """Return the instructions as the kernel takes them."""
    return b"".join(_INSTRUCTION.pack(*step) for step in program)
