"""The helper for network namespaces: opens what the exporter may not open by itself.

Entering a namespace requires CAP_SYS_ADMIN, which the exporter does not have. This process takes
the name of a namespace, opens sockets and files in it, and hands their descriptors over. It reads
nothing from them, keeps none, and does nothing else; `kernel/netns/wire.py` has the requests.

nfnetlink answers only if whoever opened the socket has CAP_NET_ADMIN too (netlink_ns_capable in
net/netlink/af_netlink.c, v6.18).

It imports little, so that it stays below 10 MB: no `socket`, `ctypes`, `re` or `typing`.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import struct
import sys
import time

from netfilter_exporter.kernel.netns import wire
from netfilter_exporter.kernel.netns.users import uid_of

DIRECTORY = b"/run/netns"

_BACKLOG = _MOST_PEERS = 16
_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
_CLONE_NEWNET = 0x40000000
_NAME_MAX = 255
_KINDS = 16  # of one request
_UCRED = struct.Struct("=iII")  # struct ucred: pid, uid, gid
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW
_NET = "/proc/thread-self/net"
_USAGE = "usage: netfilter_exporter-netns-helper [--socket PATH] USER"

#: Of each kind of socket: family, type and protocol.
_SOCKETS = {
    wire.NETFILTER: (_socket.AF_NETLINK, _socket.SOCK_RAW, 12),  # NETLINK_NETFILTER
    wire.ROUTE: (_socket.AF_NETLINK, _socket.SOCK_RAW, 0),  # NETLINK_ROUTE
    wire.IPV4: (_socket.AF_INET, _socket.SOCK_DGRAM, 0),
    wire.IPV6: (_socket.AF_INET6, _socket.SOCK_DGRAM, 0),
}
#: Of each kind of file: its path and flags.
_FILES = {
    wire.STATISTICS: (f"{_NET}/stat", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC),
    wire.CONNTRACK: (f"{_NET}/stat/nf_conntrack", _OPEN),
    wire.IPV4_TABLES: (f"{_NET}/ip_tables_names", _OPEN),
    wire.IPV6_TABLES: (f"{_NET}/ip6_tables_names", _OPEN),
}


def main() -> int:
    """Serve until a signal ends the process; return 2 on wrong usage."""
    path, user = _arguments(sys.argv[1:])
    if user is None:
        sys.stderr.write(f"{_USAGE}\n")
        return 2
    try:
        uid = uid_of(user)
        listener = _activated() if path is None else _bind(path)
        serve(listener, uid)
    except (OSError, KeyError) as error:
        sys.stderr.write(f"netfilter_exporter-netns-helper: {error}\n")
    return 1


def _arguments(arguments: list[str]) -> tuple[str | None, str | None]:
    """Return the path of the socket, None for that of systemd, and the user; no user: wrong."""
    if len(arguments) == 3 and arguments[0] == "--socket":
        return arguments[1], arguments[2]
    if len(arguments) == 1 and not arguments[0].startswith("-"):
        return None, arguments[0]
    return None, None


def _activated() -> _socket.socket:
    """Return the socket that systemd listens on, see sd_listen_fds(3)."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        raise OSError(errno.ENOTSOCK, "systemd passed no socket, and --socket is not given")
    os.set_inheritable(_FIRST_DESCRIPTOR, False)
    return _socket.socket(fileno=_FIRST_DESCRIPTOR)


def _bind(path: str) -> _socket.socket:
    """Return a socket of our own; whoever connects is checked, so that everybody may."""
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    if os.path.exists(path):  # of a process that was killed
        os.unlink(path)
    listener.bind(path)
    os.chmod(path, 0o666)  # noqa: S103 - see above
    listener.listen(_BACKLOG)
    return listener


def serve(listener: _socket.socket, uid: int) -> None:
    """Answer peers that run as root or as `uid`, and no others; none makes another one wait."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    peers: dict[int, _socket.socket] = {}
    ready = select.poll()
    ready.register(listener, select.POLLIN)
    while True:
        events = [descriptor for descriptor, _ in ready.poll()]
        gone = [each for each in peers if each in events and not _serve_peer(peers[each], own)]
        if listener.fileno() in events and (peer := _accept(listener, uid)):
            ready.register(peer, select.POLLIN)
            peers[peer.fileno()] = peer
            gone += list(peers)[:-_MOST_PEERS]  # those that came first
        for descriptor in {*gone}:
            ready.unregister(descriptor)
            peers.pop(descriptor).close()


def _accept(listener: _socket.socket, uid: int) -> _socket.socket | None:
    """Return the next peer after it was greeted; None for one that is refused, or gone."""
    try:
        descriptor, _ = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - as socket.py does
        peer = _socket.socket(fileno=descriptor)
        peer.setblocking(False)
        credentials = peer.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED.size)
        is_known = _UCRED.unpack(credentials)[1] in {0, uid}
        peer.send(wire.READY if is_known else _error(errno.EPERM))
    except OSError:
        return None
    return peer if is_known else None


def _serve_peer(peer: _socket.socket, own: int) -> bool:
    """Answer one request; return whether the peer goes on to listen."""
    try:
        request = peer.recv(wire.REQUEST)
        if request:
            _answer(peer, request, own)
    except OSError:
        return False
    return bool(request)


def _answer(peer: _socket.socket, request: bytes, own: int) -> None:
    command, _, rest = request.partition(b" ")
    opened: list[int] = []
    try:
        if command == wire.LIST:
            content = _list(rest)
        elif command == wire.OPEN:
            kinds, _, name = rest.partition(b" ")
            content = _open(kinds.decode("ascii", "replace"), name, own, opened)
        else:
            content = _error(errno.EINVAL)
    except OSError as error:
        content = _error(error.errno)
    try:
        rights = struct.pack(f"{len(opened)}i", *opened)
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if opened else []
        peer.sendmsg([content], ancillary)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _error(number: int | None) -> bytes:
    return b"%s %d" % (wire.ERROR, number or errno.EIO)


def _list(after: bytes) -> bytes:
    """Return the names behind `after` that fit into an answer; none where none is left."""
    try:
        entries = os.listdir(DIRECTORY)
    except FileNotFoundError:  # nobody has named any
        entries = []
    answer = wire.NAMES
    for name in sorted(entry for entry in entries if entry > after and _is_name(entry)):
        if len(answer) + 1 + len(name) > wire.ANSWER:
            break
        answer += b"/" + name
    return answer


def _is_name(name: bytes) -> bool:
    """Return whether it is the name of an entry of a directory, and not hidden."""
    return (
        0 < len(name) <= _NAME_MAX and name[:1] != b"." and b"/" not in name and b"\0" not in name
    )


def _open(kinds: str, name: bytes, own: int, opened: list[int]) -> bytes:
    """Open `kinds` in a namespace and append the descriptors to `opened`; return the answer."""
    if not _is_name(name) or not set(kinds) <= _SOCKETS.keys() | _FILES.keys():
        raise OSError(errno.EINVAL, "not a name, or an unknown kind")
    descriptor = os.open(DIRECTORY + b"/" + name, _OPEN)
    try:
        _enter(descriptor)
    finally:
        os.close(descriptor)
    try:
        errors = [(kind, _open_kind(kind, opened)) for kind in kinds[:_KINDS]]
    finally:
        _return(own)
    microseconds = time.process_time_ns() // 1000
    parts = (str(microseconds), *(f"{kind}{number}" for kind, number in errors))
    return b" ".join([wire.OPENED, *(part.encode() for part in parts)])


def _open_kind(kind: str, opened: list[int]) -> int:
    """Append the descriptor of one kind to `opened`; return 0, or the errno."""
    try:
        if kind in _FILES:
            opened.append(os.open(*_FILES[kind]))
        else:
            family, type_, protocol = _SOCKETS[kind]
            opened.append(_socket.socket(family, type_, protocol).detach())
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _return(own: int) -> None:
    """Go back to the own namespace; end the process where that fails, for it would be lost."""
    try:
        _enter(own)
    except OSError:
        os._exit(1)


def _enter(descriptor: int) -> None:
    """Enter the network namespace of a file; raises EINVAL where it is not one."""
    _setns(descriptor, _CLONE_NEWNET)


if sys.version_info >= (3, 12):
    _setns = os.setns
else:
    # What ctypes is made of: that takes 0.3 MB more, and memory that can be written and executed.
    import _ctypes

    class _Function(_ctypes.CFuncPtr):
        """A function of C that returns an int."""

        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO

    _libc_setns = _Function(_ctypes.dlsym(_ctypes.dlopen(None, 0), "setns"))  # type: ignore[arg-type]

    def _setns(descriptor: int, kind: int) -> None:
        if _libc_setns(descriptor, kind) != 0:
            number = _ctypes.get_errno()
            raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    sys.exit(main())
