"""What may be asked in other namespaces: nothing that loads a module there or here."""

from __future__ import annotations

from netfilter_exporter.kernel import forwarding
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.files import Paths, exists
from netfilter_exporter.kernel.modules.model import WITHOUT_HALVES, Modules
from netfilter_exporter.kernel.modules.reader import ModuleReader
from netfilter_exporter.kernel.rulesets import life
from netfilter_exporter.kernel.xtables import tables as xtables
from netfilter_exporter.rules.families import Family


class Gate:
    """The modules of the host, which all its namespaces share; `look` before each sample."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._reader = ModuleReader(paths)
        self._modules: Modules | None = None
        self._forced_before: bool | None = None
        self._life = 0
        self.legacy: tuple[Family, ...] = ()  #: families of which there can be a legacy table
        self.may_force_ipv6 = False  #: IPv6 can be forwarded by interface
        self.may_list_hooks = False  #: nfnetlink_hook may be asked

    def look(self) -> None:
        """Read the modules."""
        self._life = life(self._paths)
        self._modules = modules = self._reader.read()
        if self._forced_before is None:
            self._forced_before = modules.forced_unload
        self.legacy = tuple(f for f in Family if exists(self._paths.proc(xtables.NAMES[f])))
        self.may_force_ipv6 = forwarding.may_force_ipv6(self._paths)
        self.may_list_hooks = modules.may_ask("nfnetlink_hook")

    @property
    def has_nftables(self) -> bool:
        """Whether there can be a rule of nftables."""
        return self._found.usable("nf_tables") is not False

    def rules_track(self, family: Family) -> bool:
        """Return whether a translating rule has the packets of its family tracked.

        It holds the hooks of the namespace (see facts/tracking.py), unless a separate module has
        them, or one was removed by force.
        """
        module = self._found.known[f"nf_conntrack_{family.value}"]
        return module.state in WITHOUT_HALVES and not self._found.forced_unload

    def require_nftables(self) -> None:
        """Raise where asking nf_tables may load it, or it is another than at the look."""
        self._found.require("nf_tables")
        if life(self._paths) != self._life:
            raise ReadError("nftables: nf_tables was unloaded while its rules were being read")

    def staying(self, tables: frozenset[str], family: Family) -> frozenset[str]:
        """Return those of the legacy tables that asking does not load again."""
        return xtables.staying(tables, self._paths, family)

    def refuse_forced(self) -> None:
        """Raise where a module was removed by force: a rule may still point into it."""
        if self._found.forced_unload and not self._forced_before:
            raise ReadError("rules: not read: a module was removed by force; reboot")

    @property
    def _found(self) -> Modules:
        if self._modules is None:
            self.look()
        assert self._modules  # noqa: S101 - for mypy
        return self._modules
