"""A filter over the system calls of this process.

A list of what is refused, not of what is allowed: what another version of Python or of the C
library may call goes on to work. What seccomp cannot hold: it sees numbers and no memory, so the
content of a netlink message is out of its sight.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct

from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER, NETLINK_ROUTE
from netfilter_exporter.sandbox import bpf, libc
from netfilter_exporter.sandbox.syscalls import (
    ABSENT,
    JUDGED,
    LAST,
    OWN,
    REFUSED,
    WRITING,
    Architecture,
    architecture,
    numbers,
)

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_SECCOMP_SET_MODE_FILTER = 1
#: Without it, kernels before 5.16 disable speculation past stores for the whole process, which
#: makes Python slower by a tenth.
_SPEC_ALLOW = 1 << 2  # SECCOMP_FILTER_FLAG_SPEC_ALLOW
_TYPE_MASK = 0xF  # SOCK_TYPE_MASK, include/linux/net.h
_CLONE_THREAD = 0x00010000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # types into the terminal that started us
#: SIOC*, of which these two give the name and the index of an interface.
_SIOC, _SIOC_MASK, _SIOCGIFNAME, _SIOCGIFINDEX = 0x8900, 0xFFFFFF00, 0x8910, 0x8933
#: IPT_SO_SET_REPLACE, and what ebtables, arptables, IPVS and multicast routing put above it.
_FIRST_SET_OF_TABLES = 64
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_TMPFILE = os.O_TMPFILE & ~os.O_DIRECTORY


def install(*, writes: bool, connects: bool = False) -> None:
    """Filter the calls of this thread and of those that it starts; raise OSError.

    `writes` says that files will be written, `connects` that a helper will be asked. no_new_privs
    must be set.
    """
    found = architecture()
    code = ctypes.create_string_buffer(bpf.packed(program(found, writes=writes, connects=connects)))
    count = len(code) // 8  # the buffer has a NUL more
    filter_ = ctypes.create_string_buffer(struct.pack("HP", count, ctypes.addressof(code)))
    number = numbers(OWN, found)["seccomp"]
    try:
        libc.syscall(number, _SECCOMP_SET_MODE_FILTER, _SPEC_ALLOW, filter_)
    except OSError:  # before 4.17, or a filter of somebody else's
        libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(filter_))


def program(found: Architecture, *, writes: bool, connects: bool = False) -> bpf.Program:
    """Return the filter for an architecture."""
    denied, missing = bpf.fail(errno.EPERM), bpf.fail(errno.ENOSYS)
    refused = numbers(REFUSED, found)
    judged = numbers(JUDGED, found)
    blocks = {
        "socket": _socket(connects=connects),
        "setsockopt": _setsockopt(),
        "ioctl": _ioctl(),
        "clone": _clone(),
        "tgkill": _tgkill(),
    }
    if not writes:
        refused |= numbers(WRITING, found)
        blocks = {"openat": _open(2), "open": _open(1), **blocks}  # most calls that are judged
    return [
        *bpf.ARCHITECTURE,
        *bpf.unless_equal(found.audit, denied),
        *bpf.NUMBER,
        *bpf.if_greater(LAST, missing),  # those of x32 too
        *bpf.if_in(numbers(ABSENT, found).values(), missing),
        *(s for name, b in blocks.items() if name in judged for s in bpf.if_equal(judged[name], b)),
        *bpf.if_in(refused.values(), denied),
        *bpf.ALLOW,
    ]


_DENIED = bpf.fail(errno.EPERM)


def _socket(*, connects: bool) -> bpf.Program:
    """Netlink of routes and of netfilter; datagrams: the probe, and where legacy tables are read.

    What listens does so by now. Nobody connects to anything, but to the helper for namespaces: its
    type of Unix sockets is not that of docker.sock and its like.
    """
    packets = [
        *bpf.argument(1, _TYPE_MASK),
        *bpf.if_equal(socket.SOCK_SEQPACKET, bpf.ALLOW),
        *_DENIED,
    ]
    netlink = [
        *bpf.argument(2),
        *bpf.if_in((NETLINK_ROUTE, NETLINK_NETFILTER), bpf.ALLOW),
        *_DENIED,
    ]
    datagram = [
        *bpf.argument(1, _TYPE_MASK),
        *bpf.if_equal(socket.SOCK_DGRAM, bpf.ALLOW),
        *_DENIED,
    ]
    return [
        *bpf.argument(0),
        *bpf.if_equal(socket.AF_NETLINK, netlink),
        *bpf.if_in((socket.AF_INET, socket.AF_INET6), datagram),
        *(bpf.if_equal(socket.AF_UNIX, packets) if connects else []),
        *_DENIED,
    ]


def _setsockopt() -> bpf.Program:
    """Not what replaces legacy tables and their like."""
    tables = [*bpf.argument(2), *bpf.if_at_least(_FIRST_SET_OF_TABLES, _DENIED), *bpf.ALLOW]
    return [
        *bpf.argument(1),
        *bpf.if_in((socket.IPPROTO_IP, socket.IPPROTO_IPV6), tables),
        *bpf.ALLOW,
    ]


def _ioctl() -> bpf.Program:
    """Not what sets up interfaces and routes, nor what types into a terminal."""
    return [
        *bpf.argument(1),
        *bpf.if_in((_SIOCGIFNAME, _SIOCGIFINDEX), bpf.ALLOW),
        *bpf.if_in((_TIOCSTI, _TIOCLINUX), _DENIED),
        *bpf.argument(1, _SIOC_MASK),
        *bpf.if_equal(_SIOC, _DENIED),
        *bpf.ALLOW,
    ]


def _clone() -> bpf.Program:
    """Threads only."""
    return [*bpf.argument(0), *bpf.if_any_bit(_CLONE_THREAD, bpf.ALLOW), *_DENIED]


def _tgkill() -> bpf.Program:
    """Signals to itself, as abort(3) sends one."""
    return [*bpf.argument(0), *bpf.if_equal(os.getpid(), bpf.ALLOW), *_DENIED]


def _open(flags: int) -> bpf.Program:
    """Not for writing; `flags` is the index of the argument."""
    return [*bpf.argument(flags), *bpf.if_any_bit(_WRITES | _TMPFILE, _DENIED), *bpf.ALLOW]
