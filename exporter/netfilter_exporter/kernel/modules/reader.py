"""Reads the modules of the host, and remembers what does not change between two scrapes."""

from __future__ import annotations

import re
from typing import NamedTuple

from netfilter_exporter.kernel import kept_files
from netfilter_exporter.kernel.errors import NoData, ReadError
from netfilter_exporter.kernel.files import Paths, exists
from netfilter_exporter.kernel.modules.evidence import Evidence, EvidenceReader
from netfilter_exporter.kernel.modules.history import MERGES, MODULES, ROWS
from netfilter_exporter.kernel.modules.kallsyms import BuiltinSymbols
from netfilter_exporter.kernel.modules.lists import parse_proc_modules
from netfilter_exporter.kernel.modules.model import Module, Modules, ModuleState
from netfilter_exporter.kernel.modules.states import Judge
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER

#: Seconds of one look for reading symbols; what is not found by then is unknown for now.
_SYMBOLS_TIME = 1.0
_NETFILTER_ROW = re.compile(rb"^\S+\s+%d\s" % NETLINK_NETFILTER, re.MULTILINE)
_TAINT_FORCED_RMMOD = 1 << 3  # include/linux/panic.h (v6.18)
_FILES = {
    **{row.name: row.file for row in MODULES if row.file},
    **{merge.name: merge.file for merge in MERGES.values() if merge.file},
}


class _Facts(NamedTuple):
    """All that a decision depends on, but for what cannot change before the next boot."""

    evidence: Evidence
    functional: frozenset[str]
    listing: bytes


def read_forced_unload(paths: Paths) -> bool:
    """Return whether a module was removed by force since the boot."""
    return bool(kept_files.read_int(paths.proc("sys/kernel/tainted")) & _TAINT_FORCED_RMMOD)


class ModuleReader:
    """Reads `Modules`; `extra` are names to report besides those that are always reported."""

    def __init__(self, paths: Paths, extra: tuple[str, ...] = ()) -> None:
        self._paths = paths
        self._reported = tuple(
            dict.fromkeys((*(row.name for row in MODULES if row.reported), *extra))
        )
        self._names = tuple(dict.fromkeys((*ROWS, *extra)))
        self._evidence: EvidenceReader | None = None
        self._symbols: BuiltinSymbols | None = None
        self._decided: tuple[_Facts, dict[str, Module]] | None = None
        self._last: tuple[tuple[object, ...], Modules] | None = None

    def read(self) -> Modules:
        """Return the modules as they are now."""
        paths = self._paths
        if self._evidence is None:
            self._evidence = EvidenceReader(paths, self._names)
        evidence = self._evidence.read()
        functional = self._functional(evidence)
        listing = self._proc_modules()
        loading = listing is not None
        fields = (
            self._evidence.release,
            loading,
            loading and kept_files.read_int(paths.proc("sys/kernel/modules_disabled")) == 1,
            evidence.directory if loading else None,
            read_forced_unload(paths),
            evidence.modprobe_readable,
            evidence.signatures if loading else None,
            self._decide(_Facts(evidence, functional, listing or b"")),
            self._reported,
            evidence.stops,
        )
        if self._last is None or self._last[0] != fields:
            self._last = fields, Modules(*fields)
        return self._last[1]

    def _proc_modules(self) -> bytes | None:
        """Return /proc/modules; None where this kernel cannot load modules."""
        try:
            return kept_files.read_bytes(self._paths.proc("modules"))
        except NoData:
            return None

    def _functional(self, evidence: Evidence) -> frozenset[str]:
        """Return the names whose file exists.

        They are looked at before /proc/modules is: a module that is loaded in between shows
        there, and is not taken for a part of the kernel.
        """
        found = {name for name, file in _FILES.items() if exists(self._paths.proc(file))}
        listed = "nfnetlink" in (evidence.depends or ()) or evidence.option("nfnetlink") == "m"
        if not listed and self._netlink_protocol_is_there():
            found.add("nfnetlink")
        return frozenset(found)

    def _netlink_protocol_is_there(self) -> bool:
        """Return whether nfnetlink has its kernel socket: a row with its number in column Eth."""
        try:
            content = kept_files.read_bytes(self._paths.proc("net/netlink"))
        except ReadError:
            return False
        return bool(_NETFILTER_ROW.search(content))

    def _decide(self, facts: _Facts) -> dict[str, Module]:
        """Return what is known of each name; decided again only when a fact is another."""
        searching = self._symbols is not None and not self._symbols.done
        if self._decided is None or self._decided[0] != facts or searching:
            self._decided = facts, self._judge(facts)
        return self._decided[1]

    def _judge(self, facts: _Facts) -> dict[str, Module]:
        names = tuple(dict.fromkeys((*self._names, *facts.evidence.aliases.values())))
        wanted = frozenset(name.encode() for name in names)
        loaded = parse_proc_modules(facts.listing, wanted)
        judge = Judge(facts.evidence, loaded, facts.functional)
        known = {name: judge.module(name) for name in names}
        unknown = [name for name in names if known[name].state is ModuleState.UNKNOWN]
        proven = [name for name in unknown if self._in_sysfs(name)]
        sought = {ROWS[name].symbol: name for name in unknown if name in ROWS}
        if any(sought):  # nothing else shows these
            proven += [sought[symbol] for symbol in self._builtin_symbols() & sought.keys()]
        if proven:
            # What is proven may be what another name was merged into.
            judge = Judge(facts.evidence, loaded, facts.functional, proven)
            known = {name: judge.module(name) for name in names}
        return known

    def _in_sysfs(self, name: str) -> bool:
        """Return whether sysfs has it as a part of the kernel; it shows only those with parameters.

        The directory of a loaded module has initstate, and refcnt.
        """
        path = self._paths.sys(f"module/{name}")
        try:
            return exists(path) and not exists(f"{path}/initstate") and not exists(f"{path}/refcnt")
        except ReadError:
            return False

    def _builtin_symbols(self) -> frozenset[str]:
        """Return the symbols found so far that prove modules to be built in: they cannot change."""
        wanted = {row.symbol for row in MODULES if row.symbol}
        try:
            if self._symbols is None:
                self._symbols = BuiltinSymbols(self._paths.proc("kallsyms"), wanted)
            self._symbols.search(_SYMBOLS_TIME)
        except ReadError:
            pass
        return self._symbols.found if self._symbols else frozenset()
