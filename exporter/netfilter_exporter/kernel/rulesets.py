"""Reading rulesets again only when they changed, next to the scrapes that need them."""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Iterator, Sequence
from typing import Callable, NamedTuple, NoReturn

from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.background import READING_TIMEOUT, Background
from netfilter_exporter.kernel.errors import NoData, ReadError
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.modules.lists import is_going
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER
from netfilter_exporter.kernel.netlink.transport import Transport
from netfilter_exporter.kernel.nft import tables as nftables
from netfilter_exporter.kernel.nft.kept import KeptRuleset
from netfilter_exporter.kernel.nft.uapi import NFNLGRP_NFTABLES
from netfilter_exporter.kernel.system import System
from netfilter_exporter.kernel.xtables import tables as xtables
from netfilter_exporter.kernel.xtables.counters import CounterReader
from netfilter_exporter.kernel.xtables.transport import Xtables
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.model import Table
from netfilter_exporter.rules.reachability import RulesetFacts, analyze

#: Bytes of a legacy table, some 140 rules, up to which its entries are compared at every look. A
#: replacement of the very same size shows nowhere else.
SMALL = 1 << 15
#: Bytes of a legacy NAT table, some 280 rules, up to which its counters are read: it is handed out
#: whole or not at all.
COUNTABLE = 1 << 16
#: Seconds after which a larger one is read even if it looks the same.
LEGACY_AGE = 300.0


#: A ruleset that changes without a generation is read at each scrape. One that takes longer than
#: this many seconds is left alone for so many times as long: a tenth of one CPU at most.
_LONG, _REST = 1.0, 9


#: Those of a ruleset that is known to be empty.
NO_RULES = RulesetFacts()


class Nftables(NamedTuple):
    """The nftables ruleset of one generation."""

    generation: int
    facts: RulesetFacts
    lasting: bool  #: as long as the generation is the same
    exact: bool  #: no rule is of another generation
    current_at: float  #: when the generation was seen to be this, on the system's clock
    seconds: float  #: that the reading took


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from going over a hundred thousand objects that make no cycle."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _refuse(what: str) -> NoReturn:
    """Raise, for a module was removed by force while we looked: a rule may still point into it.

    The kernel would follow that pointer to return the name of what was there, and die of it:
    seen on 6.12 with xt_MASQUERADE.
    """
    raise ReadError(
        f"{what}: not read: a module was removed by force, which its rules may still use; reboot"
    )


def life(paths: Paths) -> int:
    """Return what distinguishes one life of nf_tables from the next; NoData at the end of one."""
    if is_going(paths, "nf_tables"):
        raise NoData("nf_tables is being unloaded")
    return files.inode(paths.sys("module/nf_tables"))


class NftablesReader:
    """Remembers the facts of the last generation."""

    def __init__(self) -> None:
        self._few = 0
        self._module = 0
        self._begin()

    def _begin(self) -> None:
        self._readings: Background[Nftables] = Background("nftables")
        self._kept = KeptRuleset(self._few)

    def listen_up_to(self, rules: int) -> None:
        """Listen to changes while there are at most so many rules; 0: never."""
        self._few = rules
        self.forget()

    def forget(self) -> None:
        """Drop what is remembered, and a reading under way: nf_tables is gone."""
        self._kept.close()
        self._begin()

    @property
    def last(self) -> Nftables | None:
        """What the last reading found."""
        return self._readings.last

    @property
    def life(self) -> int:
        """The life of nf_tables of which it is."""
        return self._module

    def read(
        self,
        system: System,
        connection: Connection,
        module: int,
        patience: Callable[[], float],
        *,
        forced: bool = False,
    ) -> Nftables:
        """Return the ruleset; `module` distinguishes one life of nf_tables from the next.

        Generations begin at 1 again when the module is loaded again. `patience` returns that of
        `Background`. `forced`: see `_refuse`.
        """
        if module != self._module:
            self.forget()
            self._module = module
        began = system.clock()
        generation = nftables.read_generation(connection)
        last = self.last
        while last is None or not _holds(last, generation, began):
            if forced and nftables.has_rules(connection):
                _refuse("nftables")
            last = self._readings.read(functools.partial(_read, system, self._kept), patience())
        return last


def _holds(last: Nftables, generation: int, began: float) -> bool:
    """Return whether a reading is that of a scrape which began then and saw this generation."""
    if last.current_at >= began:
        return True
    rests = last.seconds > _LONG and began - last.current_at < _REST * last.seconds
    return last.exact and last.generation == generation and (last.lasting or rests)


def _read(system: System, kept: KeptRuleset) -> Nftables:
    """Read the ruleset over separate connections; a scrape has passed the gate."""
    module = life(system.paths)

    def gate() -> None:
        if life(system.paths) != module:
            raise ReadError("nftables: nf_tables was unloaded while its rules were being read")

    def connect(hasty: bool) -> Connection:
        transport = system.netlink(NETLINK_NETFILTER)
        return Connection(transport, began + READING_TIMEOUT, system.clock, hasty=hasty)

    def join() -> Transport:
        return system.listen(NETLINK_NETFILTER, NFNLGRP_NFTABLES)

    began = system.clock()
    with _no_collection():
        reading, facts = kept.read(connect, join, gate)
    seconds = system.clock() - began
    return Nftables(
        reading.generation, facts, reading.lasting, reading.exact, reading.current_at, seconds
    )


class Known(NamedTuple):
    """What a legacy table is recognised by."""

    info: xtables.Info
    recognises: Callable[[memoryview], bool] | None  #: its entries; None: they are too many


def _is_same(connection: Xtables, name: str, known: Known, *, forced: bool) -> bool:
    if known.recognises is None or forced:
        return xtables.read_info(connection, name) == known.info
    info, entries = xtables.read_entries(connection, name)
    return info == known.info and known.recognises(entries)


class LegacyTables(NamedTuple):
    """The tables of one family, as they were read."""

    facts: RulesetFacts
    known: dict[str, Known]
    read_at: float
    counters: CounterReader | None  #: of the NAT table; None where there is none, or a large one


class LegacyReader:
    """Remembers the facts of the last state of one family's tables."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._what = f"legacy {family.value}"
        self._forget()

    def _forget(self) -> None:
        self._readings: Background[LegacyTables] = Background(self._what)

    @property
    def last(self) -> LegacyTables | None:
        """What the last reading found."""
        return self._readings.last

    def read(
        self, system: System, patience: Callable[[], float], *, forced: bool = False
    ) -> RulesetFacts:
        """Return what the tables that exist say: nothing where ip_tables is not loaded.

        `patience` returns that of `Background`. `forced`: see `_refuse`.
        """
        wanted = sorted(xtables.read_names(system.paths, self._family) & xtables.TABLES.keys())
        if not wanted:
            self._forget()
            return NO_RULES
        began = system.clock()
        connection = system.xtables(self._family)
        try:
            last = self._readings.last
            while last is None or not self._holds(last, connection, wanted, began, forced=forced):
                if forced and any(xtables.read_info(connection, name).has_rules for name in wanted):
                    _refuse(self._what)
                read = functools.partial(self._read, system, wanted)
                last = self._readings.read(read, patience())
        except NoData as error:  # it was listed: that it cannot be had does not make it empty
            raise ReadError(f"{self._what}: a table went: {error}") from None
        else:
            return last.facts
        finally:
            connection.close()

    def _holds(
        self,
        last: LegacyTables,
        connection: Xtables,
        names: Sequence[str],
        began: float,
        *,
        forced: bool,
    ) -> bool:
        """Return whether a reading is of a scrape that began then, or the tables are still those.

        A reading that began before the scrape is held against the tables as they are.
        """
        if last.read_at >= began:
            return True
        if not forced and began - last.read_at >= LEGACY_AGE:
            return False
        return names == list(last.known) and all(
            _is_same(connection, name, known, forced=forced) for name, known in last.known.items()
        )

    def _read(self, system: System, names: Sequence[str]) -> LegacyTables:
        read_at = system.clock()
        connection = system.xtables(self._family)
        with contextlib.closing(connection), _no_collection():
            read = [self._read_table(system, connection, name) for name in names]
            known = {name: of_table for name, (_, of_table, _) in zip(names, read)}
            counters = next((each for _, _, each in read if each), None)
            return LegacyTables(analyze(table for table, _, _ in read), known, read_at, counters)

    def _read_table(
        self, system: System, connection: Xtables, name: str
    ) -> tuple[Table, Known, CounterReader | None]:
        """Read one table; its entries, some 300 bytes a rule, are gone at the end.

        Raises `NoData` where it is gone since it was listed: asking would load its module again.
        """
        if name not in xtables.read_names(system.paths, self._family):
            raise NoData(f"{self._what}: table {name}")
        info, entries = xtables.read_entries(connection, name)
        countable = name == "nat" and info.size <= COUNTABLE
        counters = CounterReader(entries, info, self._family) if countable else None
        recognises = counters.recognises if counters else None
        if info.size > SMALL:
            recognises = None
        elif recognises is None:
            recognises = xtables.recogniser(entries, self._family)
        table = xtables.parse_table(entries, info, self._family, name)
        return table, Known(info, recognises), counters
