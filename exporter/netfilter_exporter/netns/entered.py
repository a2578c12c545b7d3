"""Reads one namespace after the other through the helper, which enters them.

All that is opened is closed before the next: a socket keeps a namespace and its interfaces alive.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Container, Iterator, Mapping
from typing import Callable, NamedTuple

from netfilter_exporter.kernel import forwarding, names
from netfilter_exporter.kernel.conntrack import hooks
from netfilter_exporter.kernel.errors import NoData, ReadError, Unsupported, bare
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER, NETLINK_ROUTE
from netfilter_exporter.kernel.netlink.transport import NetlinkSocket
from netfilter_exporter.kernel.netns import wire
from netfilter_exporter.kernel.netns.helper import Descriptors, HelperConnection
from netfilter_exporter.kernel.netns.processes import Conntrack, own_inode, read_opened_conntrack
from netfilter_exporter.netns.gate import Gate
from netfilter_exporter.netns.rules import SOCKETS, TABLES, RuleMemory, Rules
from netfilter_exporter.rules.families import Family

#: Seconds for the netlink questions to one namespace.
_DEADLINE = 10.0


class Inside(NamedTuple):
    """What is read over sockets inside; a family of which something is unknown is left out."""

    nat_rules: Mapping[Family, int] = {}  #: of both backends
    tracking: Mapping[Family, bool] = {}
    forwarding: Mapping[Family, bool] = {}
    errors: tuple[ReadError, ...] = ()  #: why rules are unknown


class Entered(NamedTuple):
    """A namespace of /run/netns other than ours."""

    inode: int  #: of its /proc/net/stat
    name: str
    conntrack: Conntrack | None = None  #: None where nf_conntrack is not in this boot
    inside: Inside = Inside()


class NamespaceReader:
    """Reads namespaces, and remembers the rules of each."""

    def __init__(self, paths: Paths, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._gate = Gate(paths)
        self._parse = forwarding.make_parser()
        self._rules: dict[str, RuleMemory] = {}  #: by name

    def read(self, helper: HelperConnection, wants: Callable[[str], bool]) -> Iterator[Entered]:
        """Yield each namespace once, by its first name; of one that is not wanted only that."""
        self._gate.look()
        seen = {own_inode()}
        before, self._rules = self._rules, {}
        for raw in helper.names():
            try:
                found = self._read(helper, raw, wants, seen, before)
            except NoData:  # deleted meanwhile, or no namespace
                continue
            if found:
                seen.add(found.inode)
                yield found

    def _read(
        self,
        helper: HelperConnection,
        raw: bytes,
        wants: Callable[[str], bool],
        seen: Container[int],
        before: Mapping[str, RuleMemory],
    ) -> Entered | None:
        name = names.decode(raw)
        is_wanted = wants(names.label(name))
        memory = before.get(name)
        kinds = self._kinds(memory) if is_wanted else wire.STATISTICS
        reopen = functools.partial(helper.open, raw)
        with contextlib.closing(reopen(kinds)) as opened:
            inode = opened.inode()
            if inode in seen:
                return None
            if not is_wanted:
                return Entered(inode, name)
            if memory is None or memory.inode != inode:
                memory = RuleMemory(inode, self._gate, self._clock)
            self._rules[name] = memory
            look = _Look(opened, reopen, self._gate, self._clock, self._parse)
            return Entered(inode, name, look.conntrack(), look.inside(memory))

    def _kinds(self, memory: RuleMemory | None) -> str:
        """Return what is needed, but no socket whose making may load a module.

        Sockets for legacy tables only where there was one: each costs as much as a question.
        """
        gate = self._gate
        kinds = wire.STATISTICS + wire.CONNTRACK + wire.ROUTE
        if gate.has_nftables or gate.may_list_hooks:
            kinds += wire.NETFILTER
        for family in gate.legacy:
            kinds += TABLES[family]
            if memory and memory.has_legacy(family):
                kinds += SOCKETS[family]
        return kinds


class _Look:
    """One look at one namespace."""

    def __init__(
        self,
        opened: Descriptors,
        reopen: Callable[[str], Descriptors],
        gate: Gate,
        clock: Callable[[], float],
        parse: forwarding.Parser,
    ) -> None:
        self._parse = parse
        self._reopen = reopen
        self._opened = opened
        self._gate = gate
        self._clock = clock
        self._end = clock() + _DEADLINE

    def conntrack(self) -> Conntrack | None:
        """Return what the namespace tracks; None where nf_conntrack is not in this boot."""
        try:
            return read_opened_conntrack(self._opened.get(wire.CONNTRACK), "/proc/net/stat")
        except NoData:
            return None

    def inside(self, memory: RuleMemory) -> Inside:
        """Read what sockets inside show; raises `NoData` where the namespace is gone."""
        with contextlib.ExitStack() as stack:
            netfilter = None
            if self._gate.has_nftables or self._gate.may_list_hooks:
                netfilter = self._take(self._opened, wire.NETFILTER, NETLINK_NETFILTER)
                stack.callback(netfilter.close)
            rules, errors = self._rules(netfilter, memory)
            tracking = {**self._implied(rules), **self._tracking(netfilter)}
            return Inside(rules.translating, tracking, self._forwarding(), errors)

    def _rules(
        self, netfilter: NetlinkSocket | None, memory: RuleMemory
    ) -> tuple[Rules, tuple[ReadError, ...]]:
        """Return the rules of the families of which both backends could be read, and the errors."""
        counts = dict.fromkeys(Family, 0)
        exempting: frozenset[Family] = frozenset()
        errors: list[ReadError] = []
        try:
            if netfilter and self._gate.has_nftables:
                connection = self._on(netfilter)
                found = memory.nftables(connection, netfilter.cookie(), self._again)
                counts, exempting = dict(found.translating), found.exempting
        except NoData:
            raise
        except ReadError as error:
            return Rules({}), (bare(error),)
        for family in self._gate.legacy:
            try:
                found = memory.legacy(self._opened, family, self._reopened)
                counts[family] += found.translating[family]
                exempting |= found.exempting
            except ReadError as error:  # noqa: PERF203 - the other family is read all the same
                del counts[family]
                errors.append(bare(error))
        return Rules(counts, exempting), tuple(errors)

    def _implied(self, rules: Rules) -> Mapping[Family, bool]:
        """Return the families of which a rule that is loaded implies that packets are tracked."""
        return {
            family: True
            for family, number in rules.translating.items()
            if number and family not in rules.exempting and self._gate.rules_track(family)
        }

    def _tracking(self, netfilter: NetlinkSocket | None) -> Mapping[Family, bool]:
        """Return whether packets are tracked, where hooks can be listed: nothing is sent."""
        found: dict[Family, bool] = {}
        try:
            for family in Family:
                if netfilter and self._gate.may_list_hooks:
                    found[family] = hooks.tracks(self._on(netfilter), family)
        except Unsupported:  # in all namespaces
            self._gate.may_list_hooks = False
        except ReadError:
            pass
        return found

    def _forwarding(self) -> Mapping[Family, bool]:
        """Return what forwards; an IPv6 interface that may be forced to is beyond our sight."""
        found: dict[Family, bool] = {}
        with contextlib.closing(self._take(self._opened, wire.ROUTE, NETLINK_ROUTE)) as route:
            for family in Family:
                with contextlib.suppress(ReadError):
                    found[family] = forwarding.read_forwards(self._on(route), family, self._parse)
        if found.get(Family.IPV6) is False and self._gate.may_force_ipv6:
            del found[Family.IPV6]
        return found

    def _again(self, hasty: bool) -> Connection:
        """Return another netfilter connection."""
        with contextlib.closing(self._reopened(wire.NETFILTER)) as opened:
            return self._on(self._take(opened, wire.NETFILTER, NETLINK_NETFILTER), hasty=hasty)

    def _reopened(self, kind: str) -> Descriptors:
        """Return another descriptor; what was opened first keeps the namespace alive."""
        opened = self._reopen(wire.STATISTICS + kind)
        with contextlib.ExitStack() as stack:
            stack.callback(opened.close)
            if opened.inode() != self._opened.inode():
                raise NoData("another namespace has the name now")
            stack.pop_all()
        return opened

    def _on(self, transport: NetlinkSocket, *, hasty: bool = False) -> Connection:
        return Connection(transport, self._end, self._clock, hasty=hasty)

    def _take(self, opened: Descriptors, kind: str, protocol: int) -> NetlinkSocket:
        return NetlinkSocket(protocol, descriptor=opened.take(kind))
