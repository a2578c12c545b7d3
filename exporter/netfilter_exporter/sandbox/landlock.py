"""Landlock: files below some directories can be read, and nothing else.

Source: include/uapi/linux/landlock.h and security/landlock/ (v6.18). What an older kernel does not
know is left out: each version of its interface holds more.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from netfilter_exporter.sandbox import libc

#: The same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1  # LANDLOCK_RULE_PATH_BENEATH

#: LANDLOCK_ACCESS_FS_*
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_REG, _TRUNCATE = 1 << 5, 1 << 8, 1 << 14
#: How many of them each version of the interface has: EXECUTE to MAKE_SYM, REFER, TRUNCATE,
#: IOCTL_DEV.
_ACCESSES = {1: 13, 2: 14, 3: 15, 4: 15}
_LATEST_ACCESSES = 16
#: BIND_TCP and CONNECT_TCP, since version 4; no abstract sockets of other processes and no signals
#: to them, since version 6.
_NET, _SCOPES = 0b11, 0b11


def version() -> int:
    """Return the version of the interface; raise OSError where the kernel has none."""
    return libc.syscall(_CREATE_RULESET, None, 0, _VERSION)


def restrict(readable: Iterable[str], writable: str | None) -> int:
    """Let this thread and those that it starts open only what is below these paths.

    Files can be written and removed in the folder `writable`. Paths that do not exist are passed
    over. Returns the version of the interface; raises OSError, and then nothing is restricted.
    no_new_privs must be set.
    """
    found = version()
    handled = (1 << _ACCESSES.get(found, _LATEST_ACCESSES)) - 1
    # struct landlock_ruleset_attr: an older kernel takes only as much of it as it knows.
    words = [handled, *([_NET] if found >= 4 else []), *([_SCOPES] if found >= 6 else [])]
    attributes = ctypes.create_string_buffer(struct.pack(f"={len(words)}Q", *words))
    ruleset = libc.syscall(_CREATE_RULESET, attributes, 8 * len(words), 0)
    try:
        for path in readable:
            _allow(ruleset, path, _READ_FILE | _READ_DIR)
        if writable:
            writes = _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | _TRUNCATE
            _allow(ruleset, writable, (_READ_FILE | _READ_DIR | writes) & handled)
        libc.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return found


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not there, or closed to us already
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            access &= ~_READ_DIR
        # struct landlock_path_beneath_attr, which is packed
        rule = ctypes.create_string_buffer(struct.pack("=Qi", access, descriptor))
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)
