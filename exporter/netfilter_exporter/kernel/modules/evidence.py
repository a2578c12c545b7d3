"""What the files on disk say of modules: parsed once, and again when one of them changes."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Callable, TypeVar

from netfilter_exporter.kernel.conf_files import ConfFiles, Listing, chase_directory
from netfilter_exporter.kernel.container import shows_host
from netfilter_exporter.kernel.errors import ReadError, or_none
from netfilter_exporter.kernel.files import Paths, read_bytes
from netfilter_exporter.kernel.modules import kconfig, modprobe
from netfilter_exporter.kernel.modules import lists as module_files
from netfilter_exporter.kernel.modules.history import ROWS

T = TypeVar("T")

#: modules.alias of a distribution has 1.4 MB, modules.dep 0.7 MB.
_LIST_LIMIT = 16 << 20
#: The last is where the patched kmod of NixOS looks.
_DIRECTORIES = (
    "/lib/modules",
    "/usr/lib/modules",
    "/run/booted-system/kernel-modules/lib/modules",
)
_OPTIONS = frozenset(option for row in ROWS.values() for option in row.options)

_Signature = tuple[object, ...]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the files say; None where a file cannot be read or is not there."""

    directory: bool | None = None  #: see `Modules.directory_present`
    depends: Mapping[str, frozenset[str]] | None = None  #: modules.dep
    builtin: frozenset[str] | None = None  #: modules.builtin
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)  #: modules.alias
    options: Mapping[str, str] | None = None  #: the kernel's configuration: y, m or n
    stopped: frozenset[str] | None = None  #: by modprobe.d
    forbidden: frozenset[str] = frozenset()  #: by module_blacklist=

    def option(self, name: str) -> str | None:
        """Return y, m, or n for the module; None: no configuration, or no known option."""
        row = ROWS.get(name)
        if self.options is None or row is None or not row.options:
            return None
        return next((self.options[o] for o in row.options if o in self.options), "n")

    def mentions(self, name: str) -> bool:
        """Tell whether the kernel's configuration knows an option of the module's own."""
        row = ROWS.get(name)
        return row is not None and any(o in (self.options or {}) for o in row.options)


class EvidenceReader:
    """Reads `Evidence` of one kernel release."""

    def __init__(self, paths: Paths, names: Collection[str]) -> None:
        self._paths = paths
        self._names = frozenset(names)
        self._shows_rules = shows_host(paths, modprobe.DIRECTORIES[0])
        self._shows_modules = any(shows_host(paths, name) for name in _DIRECTORIES)
        self._modprobe_d = ConfFiles(paths, modprobe.DIRECTORIES)
        # These three cannot change before the next boot.
        osrelease = read_bytes(paths.proc("sys/kernel/osrelease"))
        self.release = osrelease.decode("ascii", "replace").strip()
        self._running_config = or_none(self._read_running_config)
        self._forbidden = modprobe.parse_cmdline(
            or_none(lambda: read_bytes(paths.proc("cmdline"))) or b""
        )
        self._signature: _Signature | None = None
        self._evidence = Evidence()

    def read(self) -> Evidence:
        """Return what the files say now; nothing is parsed again while none has changed."""
        directory, is_there = self._module_directory()
        configurations = [] if self._running_config is not None else self._configurations(directory)
        rules = self._rules()
        lists = [f"{directory}/modules.{kind}" for kind in ("dep", "builtin", "alias")]
        seen = None if rules is None else (rules.files, len(rules.errors))
        present = is_there or self._is_missing()
        signature = (present, seen, *map(_sign, (directory, *lists, *configurations)))
        if signature != self._signature:
            parsed = self._parse(directory, configurations, rules)
            self._evidence = dataclasses.replace(parsed, directory=present)
            self._signature = signature
        return self._evidence

    def _module_directory(self) -> tuple[str, bool]:
        """Return the directory of this kernel's modules, and whether it is there."""
        places = [self._host_path(f"{place}/{self.release}") for place in _DIRECTORIES]
        found = next((place for place in places if os.path.isdir(place)), None)
        return found or places[0], found is not None

    def _host_path(self, name: str) -> str:
        try:
            return chase_directory(self._paths, name)
        except ReadError:
            return self._paths.root(name)

    def _configurations(self, directory: str) -> list[str]:
        return [
            self._host_path(f"/boot/config-{self.release}"),
            f"{directory}/config",  # the only place of it on Debian since 2025
            f"{directory}/build/.config",
        ]

    def _rules(self) -> Listing | None:
        """Return the files of modprobe.d; None where the host's are out of sight."""
        return self._modprobe_d.read() if self._shows_rules else None

    def _read_running_config(self) -> Mapping[str, str]:
        path = self._paths.proc("config.gz")
        text = kconfig.decompress(read_bytes(path), path)
        return kconfig.parse_config(text, _OPTIONS, path)

    def _parse(self, directory: str, configurations: list[str], rules: Listing | None) -> Evidence:
        def listed(kind: str, parse: Callable[[bytes, Collection[str]], T]) -> T | None:
            path = f"{directory}/modules.{kind}"
            return or_none(lambda: parse(read_bytes(path, _LIST_LIMIT), names))

        names: Collection[str] = self._names
        aliases = listed("alias", module_files.parse_aliases) or {}
        names = self._names.union(aliases.values())
        depends = listed("dep", module_files.parse_dep)
        loadable = names.union(*(depends or {}).values())
        return Evidence(
            depends=depends,
            builtin=listed("builtin", module_files.parse_builtin),
            aliases=aliases,
            options=_first((self._running_config, *map(_read_config, configurations))),
            stopped=or_none(lambda: _stopped(rules, loadable)),
            forbidden=self._forbidden,
        )

    def _is_missing(self) -> bool | None:
        """Return False where a directory that is not seen is not there, None where it is hidden."""
        if not self._shows_modules:
            return None
        try:
            # systemd's ProtectKernelModules= puts an empty directory without any mode bit there.
            hidden = os.stat(self._host_path("/lib/modules")).st_mode & 0o777 == 0
        except OSError:
            hidden = not os.path.isdir(self._host_path("/lib"))  # a part of a root, not a root
        return None if hidden else False


def _first(candidates: Iterable[T | None]) -> T | None:
    return next((found for found in candidates if found is not None), None)


def _read_config(path: str) -> Mapping[str, str] | None:
    return or_none(lambda: kconfig.parse_config(read_bytes(path, kconfig.LIMIT), _OPTIONS, path))


def _stopped(rules: Listing | None, names: Collection[str]) -> frozenset[str]:
    if rules is None or rules.errors:
        raise ReadError("modprobe.d is out of sight, or a part of it is")
    contents = (read_bytes(file.path) for file in rules.files if file.signature)
    installs = itertools.chain.from_iterable(map(modprobe.parse_install, contents))
    return modprobe.stopped_by_install(installs, names)


def _sign(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except OSError as error:
        return (error.errno or 0,)
    return found.st_mtime_ns, found.st_size, found.st_ino
