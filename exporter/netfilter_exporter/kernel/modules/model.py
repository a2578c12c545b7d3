"""Kernel modules of conntrack and NAT: what is known of each, and what may be asked of them."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

from netfilter_exporter.kernel.errors import Inconclusive, NoData, Unsupported
from netfilter_exporter.kernel.modules.modprobe import Rule


class ModuleState(enum.Enum):
    """Where a module is."""

    LOADED = "loaded"
    BUILTIN = "builtin"
    MERGED = "merged"  #: a retired name; its code is part of another module
    AVAILABLE = "available"  #: not loaded, and modprobe finds it
    BLOCKED = "blocked"  #: not loaded, and modprobe.d or the kernel command line stops it
    UNSIGNED = "unsigned"  #: on the disk without a signature, which this kernel demands
    ABSENT = "absent"  #: also: modules.dep names a file that is not on the disk
    UNKNOWN = "unknown"


#: In this boot; a merged module is where the one is that it was merged into.
PRESENT = frozenset({ModuleState.LOADED, ModuleState.BUILTIN})
#: Of nf_conntrack_ipv4 and nf_conntrack_ipv6, where nf_conntrack has the code of both.
WITHOUT_HALVES = frozenset({ModuleState.MERGED, ModuleState.ABSENT})


@dataclasses.dataclass(frozen=True)
class Module:
    """What is known of one module name."""

    name: str
    state: ModuleState
    provided_by: str = ""  #: the module that a retired name was merged into
    references: int | None = None  #: None: not loaded, or a kernel that cannot unload
    #: Of one that is blocked, unsigned or absent: itself, or those it needs, that are.
    causes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Modules:
    """The modules of one look at the host: the same object as long as nothing is another."""

    release: str
    loading: bool  #: this kernel can load modules (CONFIG_MODULES)
    locked: bool  #: kernel.modules_disabled=1: it no longer does, until the next boot
    directory_present: bool | None  #: /lib/modules/RELEASE; None: none is needed or it is hidden
    forced_unload: bool  #: somebody forced a module out since the boot
    modprobe_readable: bool  #: what modprobe.d blocks is known
    signatures: bool | None  #: this kernel refuses modules without a signature; None: unknown
    known: Mapping[str, Module]  #: every name that was looked for
    reported: tuple[str, ...]  #: those of them that go on the page
    #: By name: the lines of modprobe.d and of the kernel command line that stop a module.
    stops: Mapping[str, tuple[Rule, ...]] = dataclasses.field(default_factory=dict)

    @property
    def info(self) -> Mapping[str, Module]:
        """The modules that go on the page, by name."""
        return {name: self.known[name] for name in self.reported}

    def usable(self, name: str) -> bool | None:
        """Return whether the code of `name` is in the kernel now; None: unknown."""
        module = self.known.get(name)
        if module is None or module.state is ModuleState.UNKNOWN:
            return None
        if module.state is ModuleState.MERGED:
            return self.usable(module.provided_by)
        return module.state in PRESENT

    def possible(self, name: str) -> bool | None:
        """Return whether `name` is usable, or the kernel can load it on demand; None: unknown."""
        module = self.known.get(name)
        if module is None or module.state is ModuleState.UNKNOWN:
            return None
        if module.state is ModuleState.MERGED:
            return self.possible(module.provided_by)
        if module.state is ModuleState.AVAILABLE:
            return self.loading and not self.locked
        return module.state in PRESENT

    def may_ask(self, name: str) -> bool:
        """Return whether a netlink question to `name` loads nothing.

        It does not where `name` is present, and where nothing can be loaded at all. Where that is
        not certain the answer is no: a question that loads a module changes the host.
        """
        return self.usable(name) is True or not self.loading or self.locked

    def require(self, name: str) -> None:
        """Raise the `ReadError` that says why `name` must not be asked, if it must not."""
        if self.usable(name) is False:
            if self.loading:
                raise NoData(f"{name} is not loaded")
            raise Unsupported(f"{name} is not in this kernel")
        if not self.may_ask(name):
            raise Inconclusive(f"{name}: unknown whether it is loaded; a request might load it")
