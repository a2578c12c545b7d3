"""What the files on disk say of modules: parsed once, and again when one of them changes."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Callable, TypeVar

from netfilter_exporter.kernel.conf_files import ConfFiles, Listing, chase_directory
from netfilter_exporter.kernel.container import shows_host
from netfilter_exporter.kernel.errors import Malformed, ReadError, or_none
from netfilter_exporter.kernel.files import Paths, read_bytes
from netfilter_exporter.kernel.modules import kconfig, modprobe
from netfilter_exporter.kernel.modules import lists as module_files
from netfilter_exporter.kernel.modules.disk import (
    NO_FILES,
    ModuleFiles,
    read_files,
    read_signatures,
)
from netfilter_exporter.kernel.modules.history import BY_ALIAS, ROWS
from netfilter_exporter.kernel.modules.modprobe import Rule

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
    """What the files say; None where a file is unreadable or absent."""

    directory: bool | None = None  #: see `Modules.directory_present`
    depends: Mapping[str, frozenset[str]] | None = None  #: modules.dep
    builtin: frozenset[str] | None = None  #: modules.builtin
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)  #: modules.alias
    options: Mapping[str, str] | None = None  #: the kernel's configuration: y, m or n
    #: the rules that stop each module
    stops: Mapping[str, tuple[Rule, ...]] = dataclasses.field(default_factory=dict)
    modprobe_readable: bool = False  #: modprobe.d is among them
    files: ModuleFiles = NO_FILES
    signatures: bool | None = None  #: see `Modules.signatures`

    def option(self, name: str) -> str | None:
        """Return y, m, or n for the module; None: no configuration, or no known option."""
        row = ROWS.get(name)
        if self.options is None or row is None or not row.options:
            return None
        return next((self.options[o] for o in row.options if o in self.options), "n")

    def mentions(self, name: str) -> bool:
        """Return whether the kernel's configuration knows an option of the module itself."""
        row = ROWS.get(name)
        return row is not None and any(o in (self.options or {}) for o in row.options)


def parse_release(content: bytes, what: str) -> str:
    """Return the release of the kernel, which is a part of paths; raises `Malformed`."""
    release = content.strip()
    if not _RELEASE.fullmatch(release):
        raise Malformed(f"{what}: not a release: {release[:80]!r}")
    return release.decode("ascii")


#: UTS_RELEASE has at most 64 characters (include/linux/uts.h); one path component of them.
_RELEASE = re.compile(rb"(?!\.{1,2}$)[!-.0-~]{1,64}")


class EvidenceReader:
    """Reads `Evidence` of one kernel release."""

    def __init__(self, paths: Paths, names: Collection[str]) -> None:
        self._paths = paths
        self._names = frozenset(names)
        self._shows_rules = shows_host(paths, modprobe.DIRECTORIES[0])
        self._shows_modules = any(shows_host(paths, name) for name in _DIRECTORIES)
        self._modprobe_d = ConfFiles(paths, modprobe.DIRECTORIES)
        # These three cannot change before the next boot.
        path = paths.proc("sys/kernel/osrelease")
        self.release = parse_release(read_bytes(path), path)
        self._running_config = or_none(self._read_running_config)
        self._command_line = modprobe.parse_cmdline(
            or_none(lambda: read_bytes(paths.proc("cmdline"))) or b""
        )
        self._directories: tuple[str, ...] = ()  #: in which the files of modules are
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
        signatures = read_signatures(self._paths)
        fixed = (present, seen, signatures, *map(_sign, (directory, *lists, *configurations)))
        # The time of a directory changes when a file of it is removed.
        if self._signature != (*fixed, *map(_sign, self._directories)):
            parsed = self._parse(directory, configurations, rules, signatures=signatures is True)
            self._evidence = dataclasses.replace(parsed, directory=present, signatures=signatures)
            self._signature = (*fixed, *map(_sign, self._directories))
        return self._evidence

    def _module_directory(self) -> tuple[str, bool]:
        """Return the directory of this kernel's modules, and whether it exists."""
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

    def _parse(
        self, directory: str, configurations: list[str], rules: Listing | None, *, signatures: bool
    ) -> Evidence:
        def listed(kind: str, parse: Callable[[bytes, Collection[str]], T]) -> T | None:
            path = f"{directory}/modules.{kind}"
            return or_none(lambda: parse(read_bytes(path, _LIST_LIMIT), names))

        names = self._names
        aliases = listed("alias", module_files.parse_aliases) or {}
        names = self._names.union(aliases.values())
        found = listed("dep", module_files.parse_dep)
        files = (
            {n: self._module_path(directory, p) for n, p in found.paths.items()} if found else {}
        )
        self._directories = tuple(sorted({os.path.dirname(path) for path in files.values()}))
        of_modprobe = or_none(lambda: _read_rules(rules))
        return Evidence(
            depends=found.needs if found else None,
            builtin=listed("builtin", module_files.parse_builtin),
            aliases=aliases,
            options=_first((self._running_config, *map(_read_config, configurations))),
            stops=modprobe.stopped(
                (*(of_modprobe or ()), *self._command_line), names.union(files), BY_ALIAS
            ),
            modprobe_readable=of_modprobe is not None,
            files=self._read_files(files, signatures=signatures),
        )

    def _module_path(self, directory: str, path: str) -> str:
        """Return where a module of modules.dep is, links followed as the host does.

        NixOS links all of kernel/, and weak-updates of RHEL single files, to absolute paths.
        """
        host_name = path if path.startswith("/") else f"{self._host_name(directory)}/{path}"
        return self._host_path(host_name)

    def _host_name(self, path: str) -> str:
        return path[len(self._paths.rootfs.rstrip("/")) :]

    def _read_files(self, files: Mapping[str, str], *, signatures: bool) -> ModuleFiles:
        """Check the files; one behind a link out of what is mounted is unknown, not missing."""
        read = read_files(files, signatures=signatures)
        missing = {n for n in read.missing if shows_host(self._paths, self._host_name(files[n]))}
        return read._replace(missing=frozenset(missing))

    def _is_missing(self) -> bool | None:
        """Return False if an unseen directory does not exist, None if it is hidden."""
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


def _read_rules(listing: Listing | None) -> tuple[Rule, ...]:
    if listing is None or listing.errors:
        raise ReadError("modprobe.d is out of sight, or a part of it is")
    files = (file for file in listing.files if file.signature)
    return tuple(
        rule for file in files for rule in modprobe.parse_rules(read_bytes(file.path), file.name)
    )


def _sign(path: str) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except ValueError:  # modules.dep can name what is no path
        return ()
    except OSError as error:
        return (error.errno or 0,)
    return found.st_mtime_ns, found.st_size, found.st_ino
