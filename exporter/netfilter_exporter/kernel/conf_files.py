"""Configuration directories of the host (sysctl.d, modprobe.d), as systemd and kmod order them.

A file in an earlier directory hides those of the same name in later ones; files are then taken by
name, whatever their directory. Source: src/basic/conf-files.c of systemd (v252 and v258).
"""

from __future__ import annotations

import collections
import os
import stat
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netfilter_exporter.kernel.container import shows_host
from netfilter_exporter.kernel.errors import NoData, ReadError, bare, from_oserror
from netfilter_exporter.kernel.files import Paths

#: As the kernel's own MAXSYMLINKS.
_MAX_LINKS = 40
_PAST = 2_000_000_000  #: ns; FAT has a tick of two seconds, others one of milliseconds

_Entry = tuple[str, bool]  #: a name, and whether it is a link


class ConfFile(NamedTuple):
    """A file of a configuration directory."""

    name: str  #: as the host calls it
    path: str  #: where it is for us, links followed
    signature: tuple[int, ...]  #: changes when the content does; empty for what is no file


class Listing(NamedTuple):
    """The files that count, in the order in which they are read, and what could not be looked at.

    What is not a regular file (usually a link to /dev/null) is listed and must not be opened: it
    stands for an empty one.
    """

    files: tuple[ConfFile, ...]
    errors: tuple[ReadError, ...]


def chase(paths: Paths, name: str) -> str:
    """Return where `name`, an absolute path of the host, leads below the host's root.

    Links are followed as the host itself would: an absolute target begins at the host's root, and
    no ``..`` leads out of it. What does not exist is returned as it is. Raises `ReadError` for a
    circle of links.
    """
    done: list[str] = []
    pending = collections.deque(name.split("/"))
    links = 0
    while pending:
        part = pending.popleft()
        if part == "..":
            del done[-1:]
        elif part not in {"", "."}:
            target = _link(paths.root("/" + "/".join((*done, part))))
            if target is None:
                done.append(part)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise ReadError(f"{paths.root(name)}: too many levels of symbolic links")
            if target.startswith("/"):
                done.clear()
            pending.extendleft(reversed(target.split("/")))
    return paths.root("/" + "/".join(done))


def chase_directory(paths: Paths, name: str) -> str:
    """Return where the directory `name` of the host is; below our own root the kernel finds it."""
    return name if paths.rootfs == "/" else chase(paths, name)


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except (OSError, ValueError):
        return None  # not a link, or whoever opens it gets the error


class ConfFiles:
    """The files of some directories of the host, of which the first ones take precedence."""

    def __init__(self, paths: Paths, directories: Iterable[str], suffix: str = ".conf") -> None:
        self._paths = paths
        self._directories = tuple(directories)
        self._suffix = suffix
        self._names: dict[str, tuple[tuple[int, ...], tuple[_Entry, ...]]] = {}

    def read(self) -> Listing:
        """List the files as they are now."""
        found: dict[str, ConfFile] = {}
        errors: list[ReadError] = []
        for directory in self._directories:
            self._add(found, errors, directory)
        by_name = sorted(found.items(), key=lambda item: os.fsencode(item[0]))
        return Listing(tuple(file for _, file in by_name), tuple(errors))

    def _add(self, found: dict[str, ConfFile], errors: list[ReadError], directory: str) -> None:
        try:
            real = chase_directory(self._paths, directory)
            entries = self._entries(real)
        except NoData:
            return
        except ReadError as error:
            errors.append(bare(error))
            return
        for name, is_link in entries:
            if name not in found:
                path = _target(self._paths, f"{directory}/{name}") if is_link else f"{real}/{name}"
                if path:
                    found[name] = ConfFile(f"{directory}/{name}", path, _signature(path))
                    if is_link and not found[name].signature and self._is_hidden(path):
                        errors.append(ReadError(f"{directory}/{name}: {path} is not mounted"))

    def _is_hidden(self, path: str) -> bool:
        """Return whether the host may have a file here that was not mounted for us."""
        name = path[len(self._paths.rootfs.rstrip("/")) :]
        return name != os.devnull and not os.path.exists(path) and not shows_host(self._paths, name)

    def _entries(self, directory: str) -> tuple[_Entry, ...]:
        """Return what is in a directory, which is read again only when its time has changed.

        A time is good for that once it is well past: within one tick of the clock that stamps
        it, a second change shows no other time.
        """
        try:
            seen = os.stat(directory)
            time_of = (seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns)
            known = self._names.pop(directory, None)
            if known is None or known[0] != time_of:
                known = time_of, tuple(self._scan(directory))
            if max(seen.st_mtime_ns, seen.st_ctime_ns) < time.time_ns() - _PAST:
                self._names[directory] = known
        except OSError as error:
            raise from_oserror(error, directory) from None
        return known[1]

    def _scan(self, directory: str) -> Iterator[_Entry]:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.endswith(self._suffix) and not entry.name.startswith("."):
                    yield entry.name, entry.is_symlink()


def _target(paths: Paths, name: str) -> str | None:
    try:
        return chase(paths, name)
    except ReadError:
        return None  # passed over, as systemd does


def _signature(path: str) -> tuple[int, ...]:
    try:
        seen = os.stat(path)
    except (OSError, ValueError):
        return ()  # a link that leads nowhere hides its namesakes, as one to /dev/null does
    if not stat.S_ISREG(seen.st_mode):
        return ()
    return (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
