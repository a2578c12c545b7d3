"""Configuration directories of the host (sysctl.d, modprobe.d), as systemd and kmod order them.

A file in an earlier directory hides those of the same name in later ones; files are then taken by
name, whatever their directory. Source: src/basic/conf-files.c of systemd (v252 and v258).
"""

from __future__ import annotations

import collections
import os
import stat
from collections.abc import Iterable
from typing import NamedTuple

from netfilter_exporter.kernel.errors import NoData, ReadError, from_oserror
from netfilter_exporter.kernel.files import Paths

#: As the kernel's own MAXSYMLINKS.
_MAX_LINKS = 40


class ConfFile(NamedTuple):
    """A file of a configuration directory."""

    name: str  #: as the host calls it
    path: str  #: where it is for us, links followed
    signature: tuple[int, ...]  #: changes when the content does; empty for what is no file


class Listing(NamedTuple):
    """The files that count, in the order in which they are read, and what could not be looked at.

    What is not a regular file (mostly a link to /dev/null) is listed and must not be opened: it
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
    except OSError:
        return None  # not a link, or whoever opens it will be told


def list_files(paths: Paths, directories: Iterable[str], suffix: str = ".conf") -> Listing:
    """List what ends in `suffix` in `directories`, whose first ones take precedence."""
    found: dict[str, ConfFile] = {}
    errors: list[ReadError] = []
    for directory in directories:
        _add(found, errors, paths, directory, suffix)
    by_name = sorted(found.items(), key=lambda item: os.fsencode(item[0]))
    return Listing(tuple(file for _, file in by_name), tuple(errors))


def _add(
    found: dict[str, ConfFile], errors: list[ReadError], paths: Paths, directory: str, suffix: str
) -> None:
    try:
        real = chase_directory(paths, directory)
        for name, is_link in _entries(real):
            if name not in found and name.endswith(suffix) and not name.startswith("."):
                path = _target(paths, f"{directory}/{name}") if is_link else f"{real}/{name}"
                if path:
                    found[name] = ConfFile(f"{directory}/{name}", path, _signature(path))
    except NoData:
        return
    except ReadError as error:
        errors.append(error)


def _entries(directory: str) -> list[tuple[str, bool]]:
    try:
        with os.scandir(directory) as entries:
            return [(entry.name, entry.is_symlink()) for entry in entries]
    except OSError as error:
        raise from_oserror(error, directory) from None


def _target(paths: Paths, name: str) -> str | None:
    try:
        return chase(paths, name)
    except ReadError:
        return None  # passed over, as systemd does


def _signature(path: str) -> tuple[int, ...]:
    try:
        seen = os.stat(path)
    except OSError:
        return ()  # a link that leads nowhere hides its namesakes, as one to /dev/null does
    if not stat.S_ISREG(seen.st_mode):
        return ()
    return (seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
