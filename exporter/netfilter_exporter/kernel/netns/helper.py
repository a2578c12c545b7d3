"""Asks the helper for network namespaces for descriptors; the helper is netns_helper.py.

Sockets and files of a namespace keep it and its interfaces alive: all are closed after one reading.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from netfilter_exporter.kernel.errors import (
    Denied,
    Malformed,
    NoData,
    ReadError,
    TimedOut,
    from_oserror,
)
from netfilter_exporter.kernel.netns import wire

#: Seconds for one answer.
_PATIENCE = 2.0
_UCRED = struct.Struct("=iII")  # struct ucred: pid, uid, gid
_INT = array.array("i").itemsize
_MOST = 16  #: descriptors in an answer
_ABSENT = frozenset({errno.ENOENT, errno.ECONNREFUSED, errno.EPIPE, errno.ECONNRESET})
#: Of a file that stands for no namespace; of a link, such as to /proc/PID/ns/net; and of the file
#: without any permission that `ip netns add` makes first.
_NO_NAMESPACE = frozenset({errno.EINVAL, errno.ELOOP, errno.EACCES})


class Helper(NamedTuple):
    """Where the helper listens, and who it must be."""

    path: str
    uid: int = 0  #: besides root, which systemd is where it listens for the helper

    def connect(self) -> HelperConnection:
        """Return a connection; raises `ReadError` where nobody, or somebody else, listens."""
        connection = HelperConnection(f"netns helper {self.path}")
        try:
            connection.begin(self.path, {0, self.uid})
        except ReadError:
            connection.close()
            raise
        return connection


class HelperConnection:
    """A connection to the helper; close it."""

    def __init__(self, what: str) -> None:
        self._cpu_times: list[float] = []  #: of the helper, in seconds: the first and the last
        self._what = what
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_PATIENCE)

    def begin(self, path: str, uids: Collection[int]) -> None:
        """Connect; before anything is sent or taken, see who listens."""
        try:
            self._socket.connect(path)
            peer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        except OSError as error:
            raise self._failure(error) from None
        _, uid, _ = _UCRED.unpack(peer)
        if uid not in uids:
            expected = " or ".join(f"uid {each}" for each in sorted(uids))
            raise ReadError(f"{self._what}: run by uid {uid}; expected {expected}")
        _close(self._take(wire.READY)[1])

    def close(self) -> None:
        self._socket.close()

    def names(self) -> Iterator[bytes]:
        """Yield the name of each namespace in /run/netns, in order."""
        after = b""
        while found := self._ask(b"%s %s" % (wire.LIST, after), wire.NAMES)[0]:
            names = found[1:].split(b"/")
            if min(names) <= after:
                raise Malformed(f"{self._what}: names that are not in order")
            yield from names
            after = names[-1]

    def open(self, name: bytes, kinds: str) -> Descriptors:
        """Return descriptors of these kinds; raise `NoData` where the namespace is gone."""
        request = b"%s %s %s" % (wire.OPEN, kinds.encode(), name)
        answer, descriptors = self._ask(request, wire.OPENED)
        try:
            seconds, found = _parse_opened(answer, descriptors, os.fsdecode(name))
        except (ValueError, IndexError):
            _close(descriptors)
            raise Malformed(f"{self._what}: not an answer: {answer[:40]!r}") from None
        self._cpu_times[1:] = [seconds]
        return found

    def spent(self) -> float:
        """Return the CPU seconds of the helper between the first and the last namespace."""
        return self._cpu_times[-1] - self._cpu_times[0] if self._cpu_times else 0.0

    def _ask(self, request: bytes, wanted: bytes) -> tuple[bytes, list[int]]:
        """Send a request; return as `_take` does."""
        try:
            self._socket.send(request)
        except OSError as error:
            raise self._failure(error) from None
        return self._take(wanted)

    def _take(self, wanted: bytes) -> tuple[bytes, list[int]]:
        """Return the rest of an answer that begins with `wanted`, and its descriptors."""
        try:
            content, descriptors = self._receive()
        except OSError as error:
            raise self._failure(error) from None
        if content.startswith(wanted):
            return content[len(wanted) :], descriptors
        _close(descriptors)
        kind, _, number = content.partition(b" ")
        if kind == wire.ERROR and number.isdigit():
            raise self._refusal(int(number))
        raise Malformed(f"{self._what}: not an answer: {content[:40]!r}")

    def _receive(self) -> tuple[bytes, list[int]]:
        size = socket.CMSG_SPACE(_MOST * _INT)
        content, ancillary, flags, _ = self._socket.recvmsg(
            wire.ANSWER, size, socket.MSG_CMSG_CLOEXEC
        )
        found = array.array("i")
        for level, type_, data in ancillary:
            if level == socket.SOL_SOCKET and type_ == socket.SCM_RIGHTS:
                found.frombytes(data[: len(data) - len(data) % _INT])
        if not content or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            _close(found)
            raise OSError(errno.ECONNRESET, "the helper closed the connection, or said too much")
        return content, list(found)

    def _failure(self, error: OSError) -> ReadError:
        if isinstance(error, socket.timeout):
            return TimedOut(f"{self._what}: no answer within {_PATIENCE:g} s")
        if error.errno in _ABSENT:  # a flag requires it: NoData would say that all is well
            return ReadError(f"{self._what}: not running: {error.strerror}")
        return from_oserror(error, self._what)

    def _refusal(self, number: int) -> ReadError:
        if number in _NO_NAMESPACE:
            return NoData(f"{self._what}: not a network namespace")
        if number == errno.EPERM:
            return Denied(
                f"{self._what}: refused: it serves root and one user, not uid {os.geteuid()}, or"
                " it lacks CAP_SYS_ADMIN"
            )
        return from_oserror(OSError(number, os.strerror(number)), self._what)


class Descriptors:
    """Descriptors of one namespace, by kind; close them."""

    def __init__(self, name: str, opened: Mapping[str, int], errors: Mapping[str, int]) -> None:
        self._name = name
        self._opened = dict(opened)
        self._errors = errors

    def close(self) -> None:
        """Close those that nobody took."""
        _close(self._opened.values())

    def has(self, kind: str) -> bool:
        """Return whether this kind was requested."""
        return kind in self._opened or kind in self._errors

    def get(self, kind: str) -> int:
        """Return a descriptor, which stays ours; raises why it could not be opened."""
        if kind not in self._opened:
            number = self._errors.get(kind, errno.EIO)
            raise from_oserror(OSError(number, os.strerror(number)), f"netns {self._name}: {kind}")
        return self._opened[kind]

    def inode(self) -> int:
        """Return the inode number of /proc/net/stat, the namespace's alone while it lives."""
        return os.fstat(self.get(wire.STATISTICS)).st_ino

    def take(self, kind: str) -> int:
        """Return a descriptor, which the caller closes."""
        descriptor = self.get(kind)
        del self._opened[kind]
        return descriptor


def _parse_opened(answer: bytes, descriptors: list[int], name: str) -> tuple[float, Descriptors]:
    """Return the seconds and descriptors in an answer; ValueError or IndexError for nonsense."""
    opened: dict[str, int] = {}
    errors: dict[str, int] = {}
    left = list(reversed(descriptors))
    microseconds, *parts = answer.decode("ascii").split()
    for part in parts:
        kind, number = part[0], int(part[1:])
        if number:
            errors[kind] = number
        else:
            opened[kind] = left.pop()
    if left or len(opened) < len(descriptors):
        raise ValueError("more descriptors than kinds")
    return int(microseconds) / 1e6, Descriptors(name, opened, errors)


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
