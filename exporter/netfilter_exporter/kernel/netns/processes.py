"""Network namespaces that have a process, as /proc shows them to whoever sees that process.

/proc/PID/net is the one of the process's namespace: proc_tgid_net_lookup in fs/proc/proc_net.c
(v6.18). Unlike /proc/PID/ns/net it requires no right to trace. Its directory `stat` is made with
each namespace (proc_net_ns_init), and the inode number is that namespace's alone while it lives.
An open file below it keeps a namespace and its interfaces alive: each is closed after one read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Callable, NamedTuple

from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.conntrack.statistics import (
    COLUMNS,
    Statistics,
    parse_entries,
    parse_statistics,
)
from netfilter_exporter.kernel.errors import Denied, NoData, ReadError, from_oserror
from netfilter_exporter.kernel.files import LIMIT, Paths, read_bytes, read_descriptor
from netfilter_exporter.kernel.netns.cgroup import Owner, parse_cgroup

_STAT = "net/stat"
_FILE = "nf_conntrack"
_DIRECTORY_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK

#: What is read of each: a row for each possible CPU makes every column dear.
READ = tuple(c for c in COLUMNS if c.name in {"drop", "insert_failed", "early_drop"})


class Conntrack(NamedTuple):
    """What a namespace tracks."""

    entries: int
    statistics: Statistics  #: raw, of the columns READ


class Inhabited(NamedTuple):
    """A namespace other than ours, and one of its processes."""

    inode: int  #: of its /proc/PID/net/stat
    pid: int
    owner: Owner
    conntrack: Conntrack | None  #: None where nf_conntrack is not in this boot
    name: str | None


def read_inhabited(paths: Paths, name_of: Callable[[int], str | None]) -> tuple[Inhabited, ...]:
    """Return each namespace once, by its process with the least number.

    `name_of` gives the name of a process's namespace. Raises `Denied` where other users'
    processes are hidden, for then nobody knows what else there is.
    """
    _require_processes(paths)
    own = own_inode()
    found: dict[int, Inhabited] = {}
    for pid in _pids(paths):
        inode = _inode(paths.proc(str(pid)))
        if inode and inode != own and inode not in found:
            namespace = _read(paths, pid, inode, name_of)
            if namespace:
                found[inode] = namespace
    return tuple(found.values())


def _require_processes(paths: Paths) -> None:
    """Raise `Denied` where only some processes can be seen: process 1 always runs."""
    if paths.procfs == Paths().procfs and os.getpid() == 1:
        raise Denied("a PID namespace of the exporter's own: no process of the host is in it")
    try:
        os.stat(paths.proc(f"1/{_STAT}"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise Denied(f"{paths.procfs}: processes of other users are hidden: 1: {reason}") from None


def _pids(paths: Paths) -> Iterator[int]:
    try:
        entries = os.listdir(paths.procfs)
    except OSError as error:
        raise from_oserror(error, paths.procfs) from None
    return iter(sorted(int(entry) for entry in entries if entry.isdigit()))


def own_inode() -> int:
    """Return the number of our namespace."""
    return _inode("/proc/self")


def _inode(process: str) -> int:
    """Return the number of a process's namespace, 0 where the process has ended."""
    return files.inode(f"{process}/{_STAT}")


def _read(
    paths: Paths, pid: int, inode: int, name_of: Callable[[int], str | None]
) -> Inhabited | None:
    """Read the namespace of a process; None where it ends meanwhile, or its number is reused."""
    process = paths.proc(str(pid))
    try:
        conntrack = _read_conntrack(process, inode)
    except NoData:
        conntrack = None
    try:
        owner = parse_cgroup(read_bytes(f"{process}/cgroup"))
    except ReadError:  # a kernel without control groups
        owner = Owner()
    name = name_of(pid)
    if _inode(process) != inode:
        return None
    return Inhabited(inode, pid, owner, conntrack, name)


def _read_conntrack(process: str, inode: int) -> Conntrack:
    """Read the statistics in the very directory that has the inode: a number may be reused."""
    path = f"{process}/{_STAT}"
    try:
        directory = os.open(path, _DIRECTORY_FLAGS)
    except OSError as error:
        raise from_oserror(error, path) from None
    try:
        if os.fstat(directory).st_ino != inode:
            raise NoData(f"{path}: of another process now")
        return _read_conntrack_in(directory, path)
    finally:
        os.close(directory)


def _read_conntrack_in(directory: int, path: str) -> Conntrack:
    """Read the statistics in an open directory net/stat, which is at `path`.

    Raises `NoData` where nf_conntrack is not in this boot, and where the namespace ends meanwhile,
    which is ENXIO (seq_open_net, fs/proc/proc_net.c, v6.18).
    """
    try:
        descriptor = os.open(_FILE, _FILE_FLAGS, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise NoData(f"{path}/{_FILE}: the namespace has ended") from None
        raise from_oserror(error, f"{path}/{_FILE}") from None
    try:
        return read_opened_conntrack(descriptor, path)
    finally:
        os.close(descriptor)


def read_opened_conntrack(descriptor: int, path: str) -> Conntrack:
    """Read the open file of statistics in the directory net/stat that is at `path`."""
    path = f"{path}/{_FILE}"
    content = read_descriptor(descriptor, path, LIMIT)
    return Conntrack(parse_entries(content, path), parse_statistics(content, path, READ))
