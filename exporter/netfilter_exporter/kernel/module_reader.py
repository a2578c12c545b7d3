"""Reads the modules of the host, and remembers what does not change between two scrapes."""

from __future__ import annotations

from netfilter_exporter.kernel.files import Paths, exists, read_bytes, read_int
from netfilter_exporter.kernel.modules import Module, Modules, ModuleState

NAMES = (
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_nat",
    "nf_tables",
    "nfnetlink",
    "nfnetlink_hook",
)
_TAINT_FORCED_RMMOD = 1 << 3  # include/linux/panic.h (v6.18)


class ModuleReader:
    """Reads `Modules`; `extra` are names to report beside those that are always reported."""

    def __init__(self, paths: Paths, extra: tuple[str, ...] = ()) -> None:
        self._paths = paths
        self._names = tuple(dict.fromkeys(NAMES + extra))

    def read(self) -> Modules:
        """Return the modules as they are now."""
        paths = self._paths
        release = read_bytes(paths.proc("sys/kernel/osrelease")).decode("ascii", "replace").strip()
        loading = exists(paths.proc("modules"))
        content = read_bytes(paths.proc("modules")) if loading else b""
        loaded = {line.split()[0].decode() for line in content.splitlines()}
        return Modules(
            release=release,
            loading=loading,
            locked=loading and read_int(paths.proc("sys/kernel/modules_disabled")) == 1,
            directory_present=None,
            forced_unload=bool(read_int(paths.proc("sys/kernel/tainted")) & _TAINT_FORCED_RMMOD),
            known={
                name: Module(name, ModuleState.LOADED if name in loaded else ModuleState.UNKNOWN)
                for name in self._names
            },
            reported=self._names,
        )
