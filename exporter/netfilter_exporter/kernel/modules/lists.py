"""The lists of modules: /proc/modules, and what depmod and the kernel build left on disk.

Source: ``m_show`` in kernel/module/procfs.c (v6.18); modules.dep(5) and modules.builtin of kmod.
All names are given with underscores, as the kernel has them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import NamedTuple

from netfilter_exporter.kernel.errors import Malformed, NoData
from netfilter_exporter.kernel.files import Paths, parse_int, read_bytes


class Loaded(NamedTuple):
    """A line of /proc/modules."""

    references: int | None  #: None where modules cannot be unloaded (CONFIG_MODULE_UNLOAD=n)
    users: frozenset[str]  #: the modules that use it
    live: bool  #: neither on its way in nor out


def parse_proc_modules(content: bytes, wanted: Collection[bytes]) -> dict[str, Loaded]:
    """Return those modules of /proc/modules whose name is wanted."""
    loaded = {}
    for line in content.splitlines():
        name = line.partition(b" ")[0]
        if name in wanted:
            loaded[name.decode("ascii", "replace")] = _parse_loaded(line)
    return loaded


def _parse_loaded(line: bytes) -> Loaded:
    # name size refcount users state address [taints]
    fields = line.split()
    if len(fields) < 5:
        raise Malformed(f"/proc/modules: {line[:80]!r}")
    references = None if fields[2] == b"-" else parse_int(fields[2], "/proc/modules")
    users = fields[3].decode("ascii", "replace").strip(",-")
    return Loaded(references, frozenset(users.split(",")) - {""}, live=fields[4] == b"Live")


def is_going(paths: Paths, name: str) -> bool:
    """Return whether a module is being unloaded (show_initstate in kernel/module/main.c, v6.18).

    What it provides may still be listed, and to read that would load the module once more.
    """
    try:
        return read_bytes(paths.sys(f"module/{name}/initstate")) == b"going\n"
    except NoData:  # not loaded, or a part of the kernel
        return False


def module_name(path: bytes) -> str:
    """Return the module of a file such as ``kernel/net/netfilter/nf-nat.ko.zst``."""
    base = path.rpartition(b"/")[2].partition(b".ko")[0]
    return base.replace(b"-", b"_").decode("ascii", "replace")


class Dependencies(NamedTuple):
    """What modules.dep says of the modules that are wanted."""

    needs: Mapping[str, frozenset[str]]  #: of each, all that it needs, directly or not
    paths: Mapping[str, str]  #: the file of each of them, and of what they need


def parse_dep(content: bytes, wanted: Collection[str]) -> Dependencies:
    """Parse modules.dep; paths are as they stand there: below its directory, or absolute."""
    depends, paths = {}, {}
    for line in content.splitlines():
        path, colon, needs = line.partition(b":")
        name = module_name(path)
        if colon and name in wanted:
            files = {module_name(need): os.fsdecode(need) for need in needs.split()}
            depends[name] = frozenset(files)
            paths.update({**files, name: os.fsdecode(path)})
    return Dependencies(depends, paths)


def parse_builtin(content: bytes, wanted: Collection[str]) -> frozenset[str]:
    """Return the wanted modules that modules.builtin lists."""
    return frozenset(module_name(line.strip()) for line in content.splitlines()) & set(wanted)


def parse_aliases(content: bytes, wanted: Collection[str]) -> Mapping[str, str]:
    """Return the module behind each wanted name that is an alias in modules.alias."""
    aliases = {}
    names = {name.encode() for name in wanted}
    for line in content.splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] in names and fields[0] == b"alias":
            target = fields[2].replace(b"-", b"_").decode("ascii", "replace")
            aliases[fields[1].decode()] = target
    return aliases
