"""A recorded host as the exporter sees it: a fake root, and a kernel that answers."""

from __future__ import annotations

import errno
import gzip
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.modules import history, lists
from netfilter_exporter.kernel.system import System
from support import archive, recording
from support.kernel_double import KernelDouble

_INTERFACES = ("lo", "lan0", "wan0")  # in the order of their indexes
_WORLD_READABLE = 0o004
_CONFIG = "proc/config"
_NET_CORE = "proc/sys/net/core"
_IN_EVERY_NAMESPACE, _IN_THE_INITIAL_ONE = ("somaxconn", "4096\n"), ("netdev_budget", "300\n")


class FakeHost:
    """A recorded state of a kernel below `directory`; tests may change its files."""

    def __init__(self, name: str, directory: str) -> None:
        self.recording = recording.load(name)
        self.directory = directory
        archive.extract(self.recording.files, directory)
        self._complete()
        self.processes: frozenset[str] = frozenset()
        self.paths = Paths(f"{directory}/proc", f"{directory}/sys", directory)
        self.kernel = KernelDouble(self.recording, self.paths.procfs, self._interfaces())
        self.system = System(
            paths=self.paths,
            netlink=self.kernel.netlink,
            xtables=self.kernel.xtables,
            loopback=self.kernel.loopback,
            interfaces=self.kernel.interfaces,
            processes=lambda _: self.processes,
        )

    @property
    def facts(self) -> Mapping[str, str]:
        return self.recording.facts

    def path(self, *names: str) -> Path:
        """Return the path of `names`, such as proc/modules, below the fake root."""
        return Path(self.directory, *names)

    def drop_privilege(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Refuse what the recorded machine kept from users: its files, and netlink requests."""
        self.kernel.denied = True
        kept = [e.path for e in self.recording.files if not (e.mode or 0o444) & _WORLD_READABLE]
        deny(monkeypatch, [str(self.path(path)) for path in kept])

    def _complete(self) -> None:
        """Add what cannot be recorded as text, or was not."""
        config = self.path(_CONFIG)
        if config.exists():
            config.with_suffix(".gz").write_bytes(gzip.compress(config.read_bytes(), mtime=0))
            config.unlink()
        for listing in self.path("lib/modules").glob("*/modules.dep"):
            self._add_modules(listing)
        if "recorder" in self.facts:
            return
        present = [_IN_EVERY_NAMESPACE]
        if self.recording.modular:  # each was recorded in the initial namespace of its machine
            present.append(_IN_THE_INITIAL_ONE)
        self.path(_NET_CORE).mkdir(parents=True)
        for name, content in present:
            self.path(_NET_CORE, name).write_text(content)

    def _add_modules(self, listing: Path) -> None:
        """Add the files that modules.dep names: the recorded machine had them all."""
        listed = lists.parse_dep(listing.read_bytes(), history.ROWS)
        for name in listed.paths.values():
            module = listing.parent / name
            module.parent.mkdir(parents=True, exist_ok=True)
            module.touch()

    def _interfaces(self) -> Mapping[str, int]:
        if self.recording.interfaces:
            return self.recording.interfaces
        known = set(os.listdir(self.path("proc/sys/net/ipv4/conf"))) - {"all", "default"}
        names = [*_INTERFACES, *sorted(known.difference(_INTERFACES))]
        return {name: index for index, name in enumerate(names, 1)}


class _DenyingOs:
    """The os module, for somebody who may not look at some paths or below them."""

    def __init__(self, denied: Collection[str]) -> None:
        self._denied = tuple(denied)

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def open(self, path: str, flags: int) -> int:
        self._check(path)
        return os.open(path, flags)

    def listdir(self, path: str) -> list[str]:
        self._check(path)
        return os.listdir(path)

    def stat(self, path: str) -> os.stat_result:
        """Looking at a file needs no right to read it, only one to pass its folder."""
        self._check(os.path.dirname(path))
        return os.stat(path)

    def _check(self, path: str) -> None:
        if any(path == denied or path.startswith(denied + "/") for denied in self._denied):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)


def deny(monkeypatch: pytest.MonkeyPatch, paths: Collection[str]) -> None:
    """Make kernel/files.py meet EACCES at `paths`: root, as which tests may run, never does."""
    monkeypatch.setattr(files, "os", _DenyingOs(paths))
