"""Reading rulesets again only when they changed."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from typing import Callable, NamedTuple, NoReturn

from netfilter_exporter.kernel.errors import NoData, ReadError
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.nft import tables as nftables
from netfilter_exporter.kernel.nft.maps import Maps
from netfilter_exporter.kernel.system import System
from netfilter_exporter.kernel.xtables import tables as xtables
from netfilter_exporter.kernel.xtables.transport import Xtables
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.model import Table
from netfilter_exporter.rules.reachability import RulesetFacts, analyze

#: Bytes of a legacy table, some 140 rules, up to which its entries are compared at every look. A
#: replacement of the very same size shows nowhere else.
SMALL = 1 << 15
#: Seconds after which a larger one is read even if it looks the same.
LEGACY_AGE = 300.0


#: Those of a ruleset that is known to be empty.
NO_RULES = RulesetFacts()


class Nftables(NamedTuple):
    """The nftables ruleset of one generation."""

    generation: int
    facts: RulesetFacts
    lasting: bool  #: as long as the generation is the same


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


class NftablesReader:
    """Remembers the facts of the last generation."""

    def __init__(self) -> None:
        self.forget()
        self._module = 0

    def forget(self) -> None:
        """Drop what is remembered: nf_tables is gone."""
        self._last: Nftables | None = None
        self._maps = Maps()

    def read(self, connection: Connection, module: int, *, forced: bool = False) -> Nftables:
        """Return the ruleset; `module` distinguishes one life of nf_tables from the next.

        Generations begin at 1 again when the module is loaded again. `forced`: see `_refuse`.
        """
        if module != self._module:
            self.forget()
            self._module = module
        last = self._last
        if last and last.lasting and nftables.read_generation(connection) == last.generation:
            return last
        if forced and nftables.has_rules(connection):
            _refuse("nftables")
        with _no_collection():
            reading = nftables.read_tables(connection, self._maps)
            self._last = Nftables(reading.generation, analyze(reading.tables), reading.lasting)
        return self._last


class Known(NamedTuple):
    """What a legacy table is recognised by."""

    info: xtables.Info
    recognises: Callable[[memoryview], bool] | None  #: its entries; None: they are too many


def _is_same(connection: Xtables, name: str, known: Known, *, forced: bool) -> bool:
    if known.recognises is None or forced:
        return xtables.read_info(connection, name) == known.info
    info, entries = xtables.read_entries(connection, name)
    return info == known.info and known.recognises(entries)


class LegacyReader:
    """Remembers the facts of the last state of one family's tables."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._known: dict[str, Known] = {}
        self._facts = NO_RULES  #: of the known tables
        self._read_at = 0.0

    def read(self, system: System, *, forced: bool = False) -> RulesetFacts:
        """Return what the tables that exist say: nothing where ip_tables is not loaded.

        `forced`: see `_refuse`.
        """
        wanted = sorted(xtables.read_names(system.paths, self._family) & xtables.TABLES.keys())
        if not wanted:
            self._facts, self._known = NO_RULES, {}
            return self._facts
        connection = system.xtables(self._family)
        try:
            due = not forced and system.clock() - self._read_at >= LEGACY_AGE
            if due or not self._is_known(connection, wanted, forced=forced):
                if forced and any(xtables.read_info(connection, name).has_rules for name in wanted):
                    _refuse(f"legacy {self._family.value}")
                with _no_collection():
                    self._read(connection, wanted)
                self._read_at = system.clock()
        except NoData as error:  # it was listed: that it cannot be had does not make it empty
            raise ReadError(f"legacy {self._family.value}: a table went: {error}") from None
        else:
            return self._facts
        finally:
            connection.close()

    def _is_known(self, connection: Xtables, names: Sequence[str], *, forced: bool) -> bool:
        """Return whether the tables are those of the last reading."""
        return names == list(self._known) and all(
            _is_same(connection, name, known, forced=forced) for name, known in self._known.items()
        )

    def _read(self, connection: Xtables, names: Sequence[str]) -> None:
        tables: list[Table] = []
        known: dict[str, Known] = {}
        for name in names:
            info, entries = xtables.read_entries(connection, name)
            tables.append(xtables.parse_table(entries, info, self._family, name))
            small = info.size <= SMALL
            known[name] = Known(info, xtables.recogniser(entries, self._family) if small else None)
        self._facts, self._known = analyze(tables), known
