"""Writes down each question to the kernel and each answer, while somebody asks.

In the guest, or in a namespace of the running kernel: it knows the exporter and the lab alone.
tests/fixtures/README.md describes the texts that come out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator
from typing import Callable

from netfilter_exporter.kernel.conntrack import ctnetlink
from netfilter_exporter.kernel.conntrack.loopback import ADDRESS, LoopbackPair
from netfilter_exporter.kernel.errors import Inconclusive, ReadError
from netfilter_exporter.kernel.netlink.attributes import pack
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import (
    HEADER,
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    nfgenmsg,
)
from netfilter_exporter.kernel.netlink.transport import NetlinkSocket, Transport
from netfilter_exporter.kernel.system import System
from netfilter_exporter.kernel.xtables.transport import Xtables, XtablesSocket
from netfilter_exporter.rules.families import Family

_GETNETCONF = (NETLINK_ROUTE, 82)
_GETRULE = (NETLINK_NETFILTER, 0x0A07)
_HOOK_GET = (NETLINK_NETFILTER, 0x0C00)
_CT_GET = (NETLINK_NETFILTER, ctnetlink.IPCTNL_MSG_CT_GET)
_CT_DELETE = (NETLINK_NETFILTER, ctnetlink.IPCTNL_MSG_CT_DELETE)
_GET_STATS = (NETLINK_NETFILTER, 0x0105)
_GET_STATS_CPU = (NETLINK_NETFILTER, ctnetlink.IPCTNL_MSG_CT_GET_STATS_CPU)
_NFNLA_HOOK_HOOKNUM, _HOOKS = 1, 5

#: Questions -> what their files are called; others have their numbers.
_NAMES = {
    _GET_STATS: "ctnetlink-get_stats",
    _GET_STATS_CPU: "ctnetlink-get_stats_cpu",
    _HOOK_GET: "hook",
    (NETLINK_NETFILTER, 0x0A01): "nft-gettable",
    (NETLINK_NETFILTER, 0x0A04): "nft-getchain",
    _GETRULE: "nft-getrule",
    (NETLINK_NETFILTER, 0x0A0A): "nft-getset",
    (NETLINK_NETFILTER, 0x0A0D): "nft-getsetelem",
    (NETLINK_NETFILTER, 0x0A10): "nft-getgen",
}
_SHORT = {0: "unspec", 1: "inet", 2: "ip", 10: "ip6"}  # NFPROTO_*
_XTABLES = {Family.IPV4: "ipt", Family.IPV6: "ip6t"}
_XTABLES_OPTIONS = {64: "get_info", 65: "get_entries"}  # IPT_SO_GET_*, and those of ip6_tables.h
_PROBES = {Family.IPV4: "ctnetlink-get-probe-ip", Family.IPV6: "ctnetlink-get-probe-ip6"}

#: Seconds for everything that one connection is asked.
_PATIENCE = 30.0


class Exchange:
    """A question, and what came back."""

    def __init__(self, head: str) -> None:
        self.head = head  #: comments: what was asked, and why there is no answer
        self.answers: list[bytes] = []

    def text(self) -> str:
        return self.head + "".join(f"{answer.hex()}\n" for answer in self.answers)


class Tap:
    """Stands between whoever asks and the kernel: `system` is what is asked."""

    def __init__(self) -> None:
        self._exchanges: dict[str, Exchange] = {}
        self._names: dict[tuple[int, int, int, bytes], str] = {}
        self.system = System(netlink=self._netlink, xtables=self._tapped_xtables)

    def texts(self) -> dict[str, str]:
        """Return the text of each exchange, by the name of its file."""
        return {f"{name}.hex": each.text() for name, each in sorted(self._exchanges.items())}

    def ask_always(self) -> None:
        """Ask what every recording answers, though the exporter may ask a host less.

        It would load modules: that must be forbidden, or impossible.
        """
        refusal = _refusal()
        for (protocol, type_), flags, payload in _always():
            if refusal is None:
                _ask(self._netlink(protocol), type_, flags, payload)
            else:
                exchange = self._place(protocol, type_, flags, payload)
                exchange.head = exchange.head.partition("# request")[0] + refusal

    def probe(self, family: Family) -> str:
        """Send a datagram on loopback and ask for its entry; return yes, no or send-eperm."""
        place = self._exchanges[_PROBES[family]] = Exchange("# no answer\n")
        pair = LoopbackPair(family)
        with contextlib.closing(pair):
            sent = _is_sent(pair)
            refusal = _refusal()
            if refusal:
                place.head = refusal
                return "no"
            flow = ctnetlink.Tuple(family, ADDRESS[family], *pair.ports)
            found = self._is_tracked(flow, place)
        if not sent:
            place.head = f"# right after one datagram was refused (sendto EPERM)\n{place.head}"
            return "send-eperm"
        return "yes" if found else "no"

    @staticmethod
    def _is_tracked(flow: ctnetlink.Tuple, place: Exchange) -> bool:
        def write(type_: int, flags: int, payload: bytes) -> Exchange:
            if type_ != ctnetlink.IPCTNL_MSG_CT_GET:
                return Exchange("")
            place.head = _head(type_, flags, payload)
            return place

        transport = _TappedTransport(NetlinkSocket(NETLINK_NETFILTER), write)
        with contextlib.closing(transport):
            connection = Connection(transport, time.monotonic() + _PATIENCE)
            try:
                identity = ctnetlink.find_entry(connection, flow)
                if identity is not None:
                    ctnetlink.delete_entry(connection, flow, identity)
            except ReadError:
                return False
        return identity is not None

    def _netlink(self, protocol: int) -> Transport:
        def place(type_: int, flags: int, payload: bytes) -> Exchange:
            return self._place(protocol, type_, flags, payload)

        return _TappedTransport(NetlinkSocket(protocol), place)

    def _place(self, protocol: int, type_: int, flags: int, payload: bytes) -> Exchange:
        """Return where the answers to a question go: where those of its last time stand."""
        exchange = Exchange(_head(type_, flags, payload))
        if not _is_made_up((protocol, type_), flags, payload):
            key = (protocol, type_, flags & NLM_F_DUMP, payload)
            if key not in self._names:
                self._names[key] = _name(*key, taken=set(self._names.values()))
            self._exchanges[self._names[key]] = exchange
        return exchange

    def _tapped_xtables(self, family: Family) -> Xtables:
        def write(table: str, option: int, structure: bytes) -> None:
            name = f"{_XTABLES[family]}-{table}-{_XTABLES_OPTIONS[option]}"
            exchange = self._exchanges[name] = Exchange(f'# getsockopt {option}, "{table}"\n')
            exchange.answers.append(structure)

        return _TappedXtables(XtablesSocket(family), write)


class _TappedTransport:
    """A netlink socket; answers go to the place of the question with their sequence number."""

    def __init__(self, inner: Transport, place: Callable[[int, int, bytes], Exchange]) -> None:
        self._inner = inner
        self._place = place
        self._asked: dict[int, Exchange] = {}

    def send(self, datagram: bytes) -> None:
        _, type_, flags, sequence, _ = HEADER.unpack_from(datagram)
        self._asked[sequence] = self._place(type_, flags, datagram[HEADER.size :])
        self._inner.send(datagram)

    def receive(self, timeout: float) -> memoryview:
        answer = self._inner.receive(timeout)
        _, _, _, sequence, _ = HEADER.unpack_from(answer)
        if sequence in self._asked:
            self._asked[sequence].answers.append(bytes(answer))
        return answer

    def close(self) -> None:
        self._inner.close()


class _TappedXtables:
    def __init__(self, inner: Xtables, write: Callable[[str, int, bytes], None]) -> None:
        self._inner = inner
        self._write = write

    def get(self, option: int, request: bytes, size: int) -> memoryview:
        structure = self._inner.get(option, request, size)
        self._write(request[:32].split(b"\0", 1)[0].decode(), option, bytes(structure))
        return structure

    def close(self) -> None:
        self._inner.close()


def _always() -> Iterator[tuple[tuple[int, int], int, bytes]]:
    everything = nfgenmsg(0)
    yield _GET_STATS, 0, everything
    yield _GET_STATS_CPU, NLM_F_DUMP, everything
    yield (NETLINK_NETFILTER, 0x0A10), 0, everything
    for type_ in (0x0A01, 0x0A04, 0x0A07):
        yield (NETLINK_NETFILTER, type_), NLM_F_DUMP, everything
    for family in Family:
        for number in range(_HOOKS):
            attribute = pack(_NFNLA_HOOK_HOOKNUM, number.to_bytes(4, "big"))
            yield _HOOK_GET, NLM_F_DUMP, nfgenmsg(family.nfproto) + attribute


def _ask(transport: Transport, type_: int, flags: int, payload: bytes) -> None:
    with contextlib.closing(transport):
        connection = Connection(transport, time.monotonic() + _PATIENCE)
        with contextlib.suppress(ReadError):  # which stands in the answer
            if flags & NLM_F_DUMP:
                connection.dump("recording", type_, payload, bytes)
            else:
                connection.ask("recording", type_, payload)


def _is_made_up(question: tuple[int, int], flags: int, payload: bytes) -> bool:
    """Return whether KernelDouble makes the answer: of files, of the probe, or of all rules."""
    if question == _CT_GET:
        return not flags & NLM_F_DUMP
    some_rules = question == _GETRULE and payload != nfgenmsg(0)
    return question in {_CT_DELETE, _GETNETCONF} or some_rules


def _name(protocol: int, type_: int, flags: int, payload: bytes, taken: set[str]) -> str:
    """Return what the file of a question is called: by its names, or else by its numbers."""
    name = _NAMES.get((protocol, type_), f"netlink-{protocol}-{type_:04x}")
    if name == "hook":
        name = f"hook-{_SHORT[payload[0]]}-{payload[11]}"
    elif name.startswith("nft-") and flags:
        name = f"{name}-{_SHORT.get(payload[0], payload[0])}"
    numbered = (f"{name}-{number}" for number in range(1, 1 << 16))
    return name if name not in taken else next(other for other in numbered if other not in taken)


def _head(type_: int, flags: int, payload: bytes) -> str:
    header = HEADER.pack(HEADER.size + len(payload), type_, flags | NLM_F_REQUEST, 0, 0)
    return f"# type {type_:#06x}, flags {flags:#x}\n# request: {(header + payload).hex()}\n"


def _refusal() -> str | None:
    """Return the comment for a kernel without nfnetlink, None for one that has it."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER).close()
    except OSError as error:
        number = error.errno or errno.EPROTONOSUPPORT
        return f"# error: socket {errno.errorcode[number]} {number}\n"
    return None


def _is_sent(pair: LoopbackPair) -> bool:
    try:
        pair.send()
    except Inconclusive:
        return False
    pair.delivered()
    return True


def is_harmless() -> bool:
    """Return whether asking can load nothing: no modules at all, or they are locked."""
    if not os.path.exists("/proc/modules"):
        return True
    with open("/proc/sys/kernel/modules_disabled") as file:
        return file.read().strip() == "1"
