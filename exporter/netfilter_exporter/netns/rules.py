"""The translating rules of one other namespace, read again only when they changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Callable, NamedTuple

from netfilter_exporter.kernel.errors import NoData
from netfilter_exporter.kernel.files import LIMIT, read_descriptor
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netns import wire
from netfilter_exporter.kernel.netns.helper import Descriptors
from netfilter_exporter.kernel.nft import tables as nftables
from netfilter_exporter.kernel.nft.maps import Maps
from netfilter_exporter.kernel.rulesets import LEGACY_AGE
from netfilter_exporter.kernel.xtables import tables as xtables
from netfilter_exporter.kernel.xtables.transport import Xtables, XtablesSocket
from netfilter_exporter.netns.gate import Gate
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.model import Table
from netfilter_exporter.rules.reachability import analyze

_NAT, _RAW = "nat", "raw"
#: What the helper opens for legacy tables.
SOCKETS = {Family.IPV4: wire.IPV4, Family.IPV6: wire.IPV6}
TABLES = {Family.IPV4: wire.IPV4_TABLES, Family.IPV6: wire.IPV6_TABLES}


class Rules(NamedTuple):
    """What the rules of a namespace say; a family of which that is unknown is left out."""

    translating: Mapping[Family, int]
    #: Families of which a notrack or zone rule may exempt packets from tracking.
    exempting: frozenset[Family] = frozenset()


class _Nftables(NamedTuple):
    cookie: int  #: of the namespace; 0: this kernel has none
    generation: int
    rules: Rules
    read_at: float


class _Legacy(NamedTuple):
    info: xtables.Info
    translating: int
    read_at: float


class RuleMemory:
    """What is remembered of the rules of one namespace."""

    def __init__(self, inode: int, gate: Gate, clock: Callable[[], float]) -> None:
        self.inode = inode
        self._gate = gate
        self._clock = clock
        self._nftables: _Nftables | None = None
        self._legacy: dict[Family, _Legacy] = {}

    def nftables(self, connection: Connection, cookie: int, connect: nftables.Connect) -> Rules:
        """Return the rules of nftables; `connect` opens another connection to the namespace.

        A namespace that took the name and the inode number of another one has another cookie.
        Before v5.14 there is none, and what looks the same is read again after a while.
        """
        self._gate.require_nftables()
        try:
            generation = nftables.read_generation(connection)
        except NoData:  # nor a ruleset
            return Rules(dict.fromkeys(Family, 0))
        last, now = self._nftables, self._clock()
        is_same = last and (last.cookie, last.generation) == (cookie, generation)
        if last and is_same and (cookie or now - last.read_at < LEGACY_AGE):
            return last.rules
        self._nftables = None
        self._gate.refuse_forced()
        reading = nftables.read_tables(connect, Maps(), self._gate.require_nftables)
        rules = _rules(reading.tables)
        if reading.lasting and reading.exact:
            self._nftables = _Nftables(cookie, reading.generation, rules, now)
        return rules

    def has_legacy(self, family: Family) -> bool:
        """Return whether there was a NAT table of iptables-legacy at the last look."""
        return family in self._legacy

    def legacy(
        self, opened: Descriptors, family: Family, reopen: Callable[[str], Descriptors]
    ) -> Rules:
        """Return the rules of one family in the NAT table of iptables-legacy.

        `reopen` opens a descriptor that is not among those that were opened.
        """
        try:
            content = read_descriptor(opened.get(TABLES[family]), xtables.NAMES[family], LIMIT)
        except NoData:  # ip_tables is not loaded
            return Rules({family: 0})
        listed = self._gate.staying(xtables.parse_names(content), family)
        exempting = frozenset({family} if _RAW in listed else ())
        if _NAT not in listed:  # asking would create it
            self._legacy.pop(family, None)
            return Rules({family: 0}, exempting)
        kind = SOCKETS[family]
        with contextlib.nullcontext(opened) if opened.has(kind) else closing(reopen(kind)) as found:
            connection = XtablesSocket(family, found.take(kind))
        with closing(connection):
            translating = self._read_legacy(connection, family)
        return Rules({family: translating}, exempting)

    def _read_legacy(self, connection: Xtables, family: Family) -> int:
        info = xtables.read_info(connection, _NAT)
        last, now = self._legacy.pop(family, None), self._clock()
        if last is None or last.info != info or now - last.read_at >= LEGACY_AGE:
            self._gate.refuse_forced()
            info, entries = xtables.read_entries(connection, _NAT)
            table = xtables.parse_table(entries, info, family, _NAT)
            last = _Legacy(info, _rules([table]).translating[family], now)
        self._legacy[family] = last
        return last.translating


def _rules(tables: Iterable[Table]) -> Rules:
    facts = analyze(tables)
    translating = dict.fromkeys(Family, 0)
    for (family, _), number in facts.rules.items():
        translating[family] += number
    return Rules(translating, frozenset(facts.exempting))
