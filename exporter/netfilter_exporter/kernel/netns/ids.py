"""Names of network namespaces in /run/netns, and whose process has which.

/proc/PID/ns/net shows which namespace a process is in, but only to whoever may trace it.
RTM_GETNSID gives everybody the number that our namespace has given to another, for a process as for
a file. The kernel gives one to each namespace that an interface was moved to from here, or that
shares a pair of interfaces with us. Asking assigns none.

Source: rtnl_net_getid in net/core/net_namespace.c, include/uapi/linux/net_namespace.h (v6.18).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

from netfilter_exporter.kernel import names
from netfilter_exporter.kernel.errors import Malformed, NoData, ReadError, from_oserror
from netfilter_exporter.kernel.files import Paths, read_bytes
from netfilter_exporter.kernel.netlink.attributes import attribute_map, pack
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NetlinkError

DIRECTORY = "/run/netns"

RTM_GETNSID = 90
NETNSA_NSID, NETNSA_PID, NETNSA_FD = 1, 2, 3
_RTGENMSG = struct.pack("=B3x", 0)  # struct rtgenmsg, padded
_U32, _S32 = struct.Struct("=I"), struct.Struct("=i")
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


def of_process(connection: Connection, pid: int) -> int | None:
    """Return the number of the namespace of a process; None where it has none, or has ended."""
    return _ask(connection, NETNSA_PID, pid)


def read_names(paths: Paths, connection: Connection) -> Mapping[int, str]:
    """Return the name of each namespace in /run/netns that has a number, by that.

    The first of several names. Each file is open for one question only: an open file of a namespace
    keeps it and its interfaces alive. Raises `ReadError` where the directory cannot be read.
    """
    directory = os.fsencode(paths.root(DIRECTORY))
    try:
        entries = sorted(os.listdir(directory))
    except OSError as error:
        failure = from_oserror(error, paths.root(DIRECTORY))
        if isinstance(failure, NoData):  # nobody has named any
            return {}
        raise failure from None
    found: dict[int, str] = {}
    for entry in entries:
        number = _of_file(connection, os.path.join(directory, entry))
        if number is not None:
            found.setdefault(number, names.decode(entry))
    return found


def shares_pids(paths: Paths) -> bool:
    """Return whether the numbers of processes in this procfs are those of our own PID namespace.

    The kernel takes a number as one of ours. NSpid has our number in each PID namespace from that
    of the procfs down to ours (proc_pid_status in fs/proc/array.c); before v4.1 there is no line.
    """
    try:
        status = read_bytes(paths.proc("self/status"))
    except ReadError:
        return False
    lines = [line.split() for line in status.splitlines() if line.startswith(b"NSpid:")]
    return len(lines) == 1 and len(lines[0]) == 2


def _of_file(connection: Connection, path: bytes) -> int | None:
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:  # deleted meanwhile
        return None
    try:
        return _ask(connection, NETNSA_FD, descriptor)
    finally:
        os.close(descriptor)


def _ask(connection: Connection, kind: int, number: int) -> int | None:
    try:
        answer = connection.ask(
            "RTM_GETNSID", RTM_GETNSID, _RTGENMSG + pack(kind, _U32.pack(number))
        )
    except NetlinkError:  # ESRCH, or EINVAL: a file whose namespace is gone
        return None
    return parse_number(answer)


def parse_number(payload: memoryview) -> int | None:
    """Parse an RTM_NEWNSID message; None for NETNSA_NSID_NOT_ASSIGNED, -1."""
    found = attribute_map(payload, len(_RTGENMSG))
    number = found.get(NETNSA_NSID, memoryview(b""))
    if len(number) != _S32.size:
        raise Malformed(f"RTM_GETNSID: a number of {len(number)} bytes")
    (value,) = _S32.unpack(number)
    return value if value >= 0 else None
