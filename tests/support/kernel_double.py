"""A kernel that answers netlink requests, getsockopt and loopback datagrams from a recording."""

from __future__ import annotations

import collections
import errno
import ipaddress
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Callable

from netfilter_exporter.kernel.errors import Inconclusive, TimedOut, Unsupported, from_oserror
from netfilter_exporter.kernel.netlink.attributes import attribute_map, pack
from netfilter_exporter.kernel.netlink.messages import (
    HEADER,
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    NFGENMSG,
    NLM_F_ACK,
    NLM_F_DUMP,
)
from netfilter_exporter.kernel.netlink.transport import Transport
from netfilter_exporter.kernel.nft.uapi import NFT_MSG_GETRULE
from netfilter_exporter.rules.families import Family
from support import unanswered, wire
from support.recording import Exchange, Recording

#: include/uapi/linux/netfilter/nfnetlink_conntrack.h, with the subsystem on top.
CT_GET, CT_DELETE = 0x0101, 0x0102
_CTA_ID = 12
#: include/uapi/linux/rtnetlink.h and netconf.h.
RTM_GETROUTE = 26
RTM_NEWNETCONF, RTM_GETNETCONF = 80, 82
RTM_NEWADDR, RTM_GETADDR = 20, 22
_IFA_ADDRESS = 1
_NETCONFA_IFINDEX, _NETCONFA_FORWARDING, _NETCONFA_RP_FILTER = 1, 2, 3
_NETCONFA_IFINDEX_ALL, _NETCONFA_IFINDEX_DEFAULT = -1, -2
#: include/uapi/linux/netfilter_ipv4/ip_tables.h; ip6_tables.h has the same numbers.
_IPT_SO_GET_INFO, _IPT_SO_GET_ENTRIES = 64, 65

_PROBE = {Family.IPV4: "ctnetlink-get-probe-ip", Family.IPV6: "ctnetlink-get-probe-ip6"}
_NFPROTO = {2: Family.IPV4, 10: Family.IPV6}  # AF_INET and AF_INET6 have the same numbers
_XTABLES = {Family.IPV4: "ipt", Family.IPV6: "ip6t"}
_OPTION = {_IPT_SO_GET_INFO: "get_info", _IPT_SO_GET_ENTRIES: "get_entries"}

Key = tuple[int, int, bytes]  #: type, flags and payload of a request


class KernelDouble:
    """The netfilter side of a recorded host.

    `unknown` holds requests that nothing was recorded for, `harm` what would have changed a real
    host: a test that is done asserts that both are empty.
    """

    def __init__(self, recording: Recording, procfs: str, interfaces: Mapping[str, int]) -> None:
        self._recording = recording
        self._procfs = procfs
        self._interfaces = interfaces
        self._answers = dict(_answers(recording))
        self.denied = False  #: True: no CAP_NET_ADMIN
        self.unknown: list[str] = []
        self.harm: list[str] = []
        self.opened: list[int] = []  #: netlink protocols
        self.requests: list[int] = []  #: message types
        self.sent: list[Family] = []  #: families of which a datagram was sent on loopback
        self.deleted: list[Family] = []  #: families whose own probe entry was deleted
        self.probe_entries: set[Family] = set()  #: those in the conntrack table now

    # -- what System wants -----------------------------------------------------------------

    def netlink(self, protocol: int) -> Transport:
        self.opened.append(protocol)
        if protocol == NETLINK_ROUTE:
            return _Transport(self._answer_route)
        missing = [e.errno for e in self._recording.exchanges.values() if e.errno is not None]
        if not missing:
            return _Transport(self._answer_netfilter)
        if self._recording.modular:
            self.harm.append("opened NETLINK_NETFILTER: the kernel would load nfnetlink")
        raise Unsupported(f"netlink protocol {protocol}: {os.strerror(missing[0])}")

    def xtables(self, family: Family) -> XtablesDouble:
        return XtablesDouble(self, family)

    def loopback(self, family: Family) -> LoopbackDouble:
        return LoopbackDouble(self, family)

    def interfaces(self) -> Mapping[str, int]:
        return self._interfaces

    def _without_answer(self, protocol: int, type_: int, flags: int, payload: bytes) -> list[bytes]:
        number = unanswered.refusal(self._recording, protocol, type_)
        if number is None:
            self.unknown.append(
                f"protocol {protocol} type {type_:#06x} flags {flags:#x} payload {payload.hex()}"
            )
        return [wire.error(number or errno.EINVAL)]

    # -- NETLINK_NETFILTER -----------------------------------------------------------------

    def _answer_netfilter(self, type_: int, flags: int, payload: bytes) -> list[bytes]:
        if self.denied:
            return [wire.error(errno.EPERM)]
        if type_ == CT_DELETE:
            return [wire.error(self._delete(payload))]
        if type_ == CT_GET and not flags & NLM_F_DUMP:
            family = self._tracked(payload)
            return list(self.probe(family).datagrams) if family else [wire.error(errno.ENOENT)]
        if type_ == NFT_MSG_GETRULE:  # its filter was not recorded: all rules, as from old kernels
            payload = bytes(NFGENMSG.size)
        answer = self._answers.get((type_, flags & ~NLM_F_ACK, payload))
        if answer is None:
            return self._without_answer(NETLINK_NETFILTER, type_, flags, payload)
        if self._recording.modular and wire.errno_of(answer[0]) == errno.EINVAL:
            self.harm.append(f"asked type {type_:#06x}: the kernel would load its subsystem")
        return list(answer)

    # -- connection tracking ---------------------------------------------------------------

    def probe(self, family: Family) -> Exchange:
        """Return what was recorded when a datagram was sent on loopback and looked up."""
        return self._recording.exchanges[_PROBE[family]]

    def probe_ports(self, family: Family) -> tuple[int, int]:
        """Return the ports of the recorded datagram: the recorded answers name them."""
        request = self.probe(family).request
        return wire.ports(request[HEADER.size :]) if request else (40000, 40001)

    def track(self, family: Family) -> None:
        """Let the datagram make its entry, if it made one when it was recorded."""
        datagrams = self.probe(family).datagrams
        if datagrams and not wire.errno_of(datagrams[0]):
            self.probe_entries.add(family)

    def _tracked(self, payload: bytes) -> Family | None:
        family = _NFPROTO.get(payload[0])
        ours = family in self.probe_entries and wire.ports(payload) == self.probe_ports(family)
        return family if ours else None

    def _delete(self, payload: bytes) -> int:
        wanted = attribute_map(memoryview(payload), NFGENMSG.size)
        if wire.CTA_TUPLE_ORIG not in wanted:
            self.harm.append("deleted every entry of the conntrack table")
            return 0
        family = self._tracked(payload)
        if family is None or wanted.get(_CTA_ID) not in {None, self._entry_id(family)}:
            return errno.ENOENT
        self.probe_entries.discard(family)
        self.deleted.append(family)
        return 0

    def _entry_id(self, family: Family) -> memoryview | None:
        answer = memoryview(self.probe(family).datagrams[0])[HEADER.size :]
        return attribute_map(answer, NFGENMSG.size).get(_CTA_ID)

    # -- NETLINK_ROUTE ---------------------------------------------------------------------

    def _answer_route(self, type_: int, flags: int, payload: bytes) -> list[bytes]:
        answer = self._answers.get((type_, flags & ~NLM_F_ACK, payload))
        if answer is not None:
            return list(answer)
        family = _NFPROTO.get(payload[0]) if payload else None
        if type_ == RTM_GETROUTE and not flags & NLM_F_DUMP:  # no default route was recorded
            return [wire.error(errno.ENETUNREACH)]
        if type_ == RTM_GETADDR and flags & NLM_F_DUMP and family:
            return [b"".join(self._addresses(payload[0], family)), wire.done()]
        if type_ != RTM_GETNETCONF or not flags & NLM_F_DUMP or family is None:
            return self._without_answer(NETLINK_ROUTE, type_, flags, payload)
        return [b"".join(self._netconf(payload[0], family)), wire.done()]

    def _addresses(self, number: int, family: Family) -> Iterator[bytes]:
        """Yield the address of lo: others were not recorded."""
        address = ipaddress.ip_address("127.0.0.1" if family is Family.IPV4 else "::1").packed
        body = struct.pack("=BBBBI", number, 8, 0, 0, 1) + pack(_IFA_ADDRESS, address)
        yield wire.message(RTM_NEWADDR, wire.NLM_F_MULTI, body)

    def _netconf(self, number: int, family: Family) -> Iterator[bytes]:
        """Yield what inet_netconf_dump_devconf does: each interface, then all, then default."""
        indexes = dict(self._interfaces)
        indexes |= {"all": _NETCONFA_IFINDEX_ALL, "default": _NETCONFA_IFINDEX_DEFAULT}
        files = {_NETCONFA_FORWARDING: "forwarding", _NETCONFA_RP_FILTER: "rp_filter"}
        for name, index in indexes.items():
            folder = Path(self._procfs, "sys", "net", family.value, "conf", name)
            values = {_NETCONFA_IFINDEX: index}
            for attribute, file in files.items():
                if (folder / file).exists():
                    values[attribute] = int((folder / file).read_text())
            if len(values) > 1:
                attributes = [pack(t, struct.pack("=i", v)) for t, v in values.items()]
                body = struct.pack("=Bxxx", number) + b"".join(attributes)
                yield wire.message(RTM_NEWNETCONF, wire.NLM_F_MULTI, body)

    # -- legacy tables ---------------------------------------------------------------------

    def getsockopt(self, family: Family, option: int, request: bytes, size: int) -> memoryview:
        if self.denied:
            raise _refused(errno.EPERM, option)
        if option not in _OPTION:
            self.unknown.append(f"getsockopt {option}")
            raise _refused(errno.ENOPROTOOPT, option)
        table = request[:32].split(b"\0", 1)[0].decode()
        exchange = self._recording.exchanges.get(f"{_XTABLES[family]}-{table}-{_OPTION[option]}")
        if exchange is None:
            self.harm.append(f"asked for {family.value} table {table}: the kernel would make it")
            raise _refused(errno.ENOENT, option)
        (structure,) = exchange.datagrams
        if size != len(structure):
            raise _refused(errno.EINVAL, option)
        if option == _IPT_SO_GET_ENTRIES and request[32:36] != structure[32:36]:
            raise _refused(errno.EAGAIN, option)
        return memoryview(structure)


class XtablesDouble:
    """The getsockopt interface of the legacy tables of one family."""

    def __init__(self, kernel: KernelDouble, family: Family) -> None:
        self._kernel = kernel
        self._family = family
        self.closed = False

    def get(self, option: int, request: bytes, size: int) -> memoryview:
        return self._kernel.getsockopt(self._family, option, request, size)

    def close(self) -> None:
        self.closed = True


class LoopbackDouble:
    """A pair of connected UDP sockets, whose datagram is tracked as it was when recorded."""

    def __init__(self, kernel: KernelDouble, family: Family) -> None:
        self._kernel = kernel
        self._family = family
        self._sent = False
        self.ports = kernel.probe_ports(family)
        self.closed = False

    def send(self) -> None:
        if self._kernel.probe(self._family).send_refused:
            raise Inconclusive(f"a datagram was refused: {os.strerror(errno.EPERM)}")
        self._sent = True
        self._kernel.sent.append(self._family)
        self._kernel.track(self._family)

    def delivered(self) -> bool:
        return self._sent

    def close(self) -> None:
        self.closed = True


class _Transport:
    """A netlink socket whose requests `answer` answers."""

    def __init__(self, answer: Callable[[int, int, bytes], list[bytes]]) -> None:
        self._answer = answer
        self._queue: collections.deque[bytes] = collections.deque()
        self.closed = False

    def send(self, datagram: bytes) -> None:
        length, type_, flags, sequence, _ = HEADER.unpack_from(datagram)
        assert length == len(datagram), "one message in a datagram, and the length says so"
        for answer in self._answer(type_, flags, datagram[HEADER.size :]):
            self._queue.append(wire.with_sequence(answer, sequence))

    def receive(self, timeout: float) -> memoryview:
        if not self._queue:
            raise TimedOut(f"netlink: no answer within {timeout:.1f} s")
        return memoryview(self._queue.popleft())

    def close(self) -> None:
        self.closed = True


def _answers(recording: Recording) -> Iterator[tuple[Key, tuple[bytes, ...]]]:
    for exchange in recording.exchanges.values():
        if exchange.request is not None:
            _, type_, flags, _, _ = HEADER.unpack_from(exchange.request)
            yield (type_, flags, exchange.request[HEADER.size :]), exchange.datagrams


def _refused(number: int, option: int) -> Exception:
    return from_oserror(OSError(number, os.strerror(number)), f"getsockopt {option}")
