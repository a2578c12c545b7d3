"""Reading rulesets again only when they changed."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from netfilter_exporter.kernel import nftables, xtables
from netfilter_exporter.kernel.errors import NoData, ReadError
from netfilter_exporter.kernel.families import Family
from netfilter_exporter.kernel.netlink import Connection
from netfilter_exporter.kernel.nft_maps import Maps
from netfilter_exporter.kernel.reachability import RulesetFacts, analyse
from netfilter_exporter.kernel.system import System

#: Seconds after which legacy tables are read even if they look the same: a replacement of the
#: very same size shows nowhere else.
LEGACY_AGE = 300.0


#: Those of a ruleset that is known to be empty.
NO_RULES = RulesetFacts()


class Nftables(NamedTuple):
    """The nftables ruleset of one generation."""

    generation: int
    facts: RulesetFacts


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

    The kernel would follow that pointer to tell us the name of what was there, and die of it:
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
        """Return the ruleset; `module` tells one life of nf_tables from the next.

        Generations begin at 1 again when the module is loaded again. `forced`: see `_refuse`.
        """
        if module != self._module:
            self.forget()
            self._module = module
        last = self._last
        if last is not None and nftables.read_generation(connection) == last.generation:
            return last
        if forced and nftables.has_rules(connection):
            _refuse("nftables")
        with _no_collection():
            generation, tables = nftables.read_tables(connection, self._maps)
            self._last = Nftables(generation, analyse(tables))
        return self._last


class LegacyReader:
    """Remembers the facts of the last state of one family's tables."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._state: dict[str, xtables.Info] = {}
        self._facts: RulesetFacts | None = None
        self._read_at = 0.0

    def read(self, system: System, *, forced: bool = False) -> RulesetFacts:
        """Return what the tables that exist say: nothing where ip_tables is not loaded.

        `forced`: see `_refuse`.
        """
        names = xtables.read_names(system.paths, self._family)
        wanted = sorted(names.intersection(xtables.TABLES))
        if not wanted:
            self._facts, self._state = None, {}
            return NO_RULES
        connection = system.xtables(self._family)
        try:
            state = {name: xtables.read_info(connection, name) for name in wanted}
            due = not forced and system.clock() - self._read_at >= LEGACY_AGE
            if self._facts is None or state != self._state or due:
                if forced and any(info.has_rules for info in state.values()):
                    _refuse(f"legacy {self._family.value}")
                with _no_collection():
                    read = [xtables.read_table(connection, self._family, name) for name in wanted]
                    self._facts = analyse(table for _, table in read)
                self._state = {name: info for name, (info, _) in zip(wanted, read)}
                self._read_at = system.clock()
        except NoData as error:  # it was listed: that it cannot be had does not make it empty
            raise ReadError(f"legacy {self._family.value}: a table went: {error}") from None
        else:
            return self._facts
        finally:
            connection.close()
