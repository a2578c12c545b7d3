"""A client or a server: a process in a network namespace of its own that echoes and sends."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence

ECHO_PORT = 7
DISCARD_PORT = 9
_CLONE_NEWNET = 0x40000000
#: Seconds for answers, which take a few ms, where none is expected, and where they are.
_BRIEF = 0.25
_PATIENT = 3.0


def enter(name: str) -> None:
    """Move this process into a named network namespace."""
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        _setns(descriptor)
    finally:
        os.close(descriptor)


def _setns(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def exchange(
    address: str, port: int, count: int, *, tcp: bool = True, patient: bool = False
) -> int:
    """Start `count` new UDP flows and a TCP connection; return how many were answered.

    `patient` where they are expected. With TCP it is all or none, so after one answer the others
    are waited for too.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(count)]
    if tcp:
        opened.append(socket.socket(family, socket.SOCK_STREAM))
    try:
        return _answered(
            [each for each in opened if _begin(each, address, port)], whole=tcp, patient=patient
        )
    finally:
        for each in opened:
            each.close()


def outbound(
    sources: Sequence[str],
    destinations: Sequence[str],
    count: int,
    wait: float,
    *,
    patient: bool = False,
) -> int:
    """Start `count` new TCP connections, source by source; return how many were answered in time.

    They are paced over `wait` seconds, and given up then; `patient` where answers are expected.
    """
    opened = []
    for number in range(count):
        source = sources[number % len(sources)]
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        each = socket.socket(family, socket.SOCK_STREAM)
        each.bind((source, 0))
        _begin(each, destinations[number % len(destinations)], ECHO_PORT)
        opened.append(each)
        time.sleep(wait / count)
    answered = _connected(opened, _PATIENT if patient else 0.05)
    for each in opened:
        each.close()
    return answered


def _connected(opened: Sequence[socket.socket], patience: float) -> int:
    """Return how many are connected when all have ended, or nothing happens for so long."""
    waiting, answered = set(opened), 0
    while waiting:
        _, ended, _ = select.select([], waiting, [], patience)
        if not ended:
            break
        waiting.difference_update(ended)
        answered += sum(each.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 for each in ended)
    return answered


def _begin(opened: socket.socket, address: str, port: int) -> bool:
    opened.setblocking(False)
    try:
        opened.connect((address, port))
        if opened.type == socket.SOCK_DGRAM:
            opened.send(b"x")
    except BlockingIOError:
        pass
    except OSError:  # a full table, or a filter
        return False
    return True


def _answered(pending: Sequence[socket.socket], *, whole: bool, patient: bool) -> int:
    waiting, answered = set(pending), 0
    began = time.monotonic()
    connecting = [each for each in waiting if each.type == socket.SOCK_STREAM]
    while waiting:
        left = began + (_PATIENT if patient or (answered and whole) else _BRIEF) - time.monotonic()
        if left <= 0:
            break
        readable, writable, _ = select.select(waiting, connecting, [], left)
        for each in writable:
            connecting.remove(each)
            with contextlib.suppress(OSError):
                each.send(b"x")
        for each in readable:
            waiting.discard(each)
            with contextlib.suppress(OSError):
                answered += bool(each.recv(64))
    return answered


@contextlib.contextmanager
def namespace(name: str | None) -> Iterator[None]:
    """Be in a named network namespace for a while; a socket stays where it was made."""
    if name is None:
        yield
        return
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        enter(name)
        yield
    finally:
        _setns(own)
        os.close(own)


class Peer:
    """A child process in a namespace; it lives until `close`."""

    def __init__(self, namespace: str) -> None:
        self._ours, theirs = socket.socketpair()
        self._reader = self._ours.makefile("r")
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._ours.close()
                _serve(namespace, theirs)
            finally:
                os._exit(1)
        theirs.close()
        self._reader.readline()  # it listens

    def flows(
        self, address: str, port: int, count: int, *, tcp: bool = True, patient: bool = False
    ) -> int:
        """Have it start flows to an address; return how many were answered."""
        return self._ask(address=address, port=port, count=count, tcp=tcp, patient=patient)

    def burst(self, address: str, count: int) -> None:
        """Have it send `count` datagrams of one flow that nobody answers."""
        self._ask(address=address, burst=count)

    def forged(self, sources: Sequence[str], address: str, port: int = ECHO_PORT) -> None:
        """Have it send a SYN to an address from each of `sources`, which may be anybody's."""
        self._ask(forged=list(sources), address=address, port=port)

    def hold(self, address: str, count: int) -> None:
        """Have it open `count` TCP connections and keep them, as long as it lives."""
        self._ask(address=address, hold=count)

    def outbound(
        self,
        sources: Sequence[str],
        destinations: Sequence[str],
        count: int,
        wait: float,
        *,
        patient: bool = False,
    ) -> int:
        """Have it start TCP connections, see `outbound`; return how many were answered."""
        lists = {"sources": list(sources), "destinations": list(destinations)}
        return self._ask(**lists, count=count, wait=wait, patient=patient)

    def _ask(self, **request: str | float | list[str]) -> int:
        self._ours.sendall(json.dumps(request).encode() + b"\n")
        return int(self._reader.readline())

    def close(self) -> None:
        self._ours.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _serve(namespace: str, commands: socket.socket) -> None:
    enter(namespace)
    for family in (socket.AF_INET, socket.AF_INET6):
        _echo_udp(family)
        _echo_tcp(family)
    discard = _bound(socket.AF_INET, socket.SOCK_DGRAM, DISCARD_PORT)  # never read
    held: list[socket.socket] = []
    commands.sendall(b"ready\n")
    for line in commands.makefile("r"):
        request = json.loads(line)
        answered = 0
        if "hold" in request:
            held += _held(request["address"], request["hold"])
        elif "burst" in request:
            _burst(request["address"], request["burst"])
        elif "forged" in request:
            _forged(request["forged"], request["address"], request["port"])
        elif "sources" in request:
            answered = outbound(**request)
        else:
            answered = exchange(**request)
        commands.sendall(b"%d\n" % answered)
    discard.close()


def _burst(address: str, count: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.connect((address, DISCARD_PORT))
        for _ in range(count):
            with contextlib.suppress(OSError):
                opened.send(b"x")


def _forged(sources: Sequence[str], address: str, port: int) -> None:
    syn = struct.pack(">HIIBBHHH", port, 0, 0, 5 << 4, 2, 1024, 0, 0)
    destination = socket.inet_aton(address)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as opened:
        for number, each in enumerate(sources):
            source = socket.inet_aton(each)
            segment = struct.pack(">H", 1024 + number) + syn
            total = _checksum(source + destination + struct.pack(">HH", 6, len(segment)) + segment)
            segment = segment[:16] + struct.pack(">H", total) + segment[18:]
            head = struct.pack(">BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + source + destination
            with contextlib.suppress(OSError):
                opened.sendto(head + segment, (address, 0))


def _checksum(data: bytes) -> int:
    words = sum(struct.unpack(f">{len(data) // 2}H", data))
    words = (words & 0xFFFF) + (words >> 16)
    return ~(words + (words >> 16)) & 0xFFFF


def _held(address: str, count: int) -> list[socket.socket]:
    return [socket.create_connection((address, ECHO_PORT)) for _ in range(count)]


def _bound(family: int, kind: int, port: int = ECHO_PORT) -> socket.socket:
    opened = socket.socket(family, kind)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    opened.bind(("", port))
    return opened


def _echo_once(accepted: socket.socket) -> None:
    with contextlib.suppress(OSError), accepted:
        accepted.sendall(accepted.recv(64))


def _echo_udp(family: int) -> None:
    opened = _bound(family, socket.SOCK_DGRAM)

    def answer() -> None:
        while True:
            with contextlib.suppress(OSError):
                data, sender = opened.recvfrom(64)
                opened.sendto(data, sender)

    threading.Thread(target=answer, daemon=True).start()


def _echo_tcp(family: int) -> None:
    opened = _bound(family, socket.SOCK_STREAM)
    opened.listen(64)

    def answer() -> None:
        while True:
            accepted, _ = opened.accept()
            threading.Thread(target=_echo_once, args=(accepted,), daemon=True).start()

    threading.Thread(target=answer, daemon=True).start()
