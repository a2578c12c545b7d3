"""Where the exporter reads: what stays open to it under Landlock.

Usually directories: a file that is replaced, as editors, package managers and ConfigMaps do it, is
another file, and only what is above it stays.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator

import netfilter_exporter
from netfilter_exporter.kernel.conf_files import chase
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.modules import modprobe
from netfilter_exporter.kernel.sysctl import sysctl_d

#: Programs, libraries, modules of the kernel and what distributions configure: without secrets.
_SYSTEM = ("/usr", "/lib", "/lib64", "/nix/store", "/gnu/store")
_OF_THE_HOST = ("/boot", "/run/booted-system", "/etc/machine-id", "/etc/ufw", "/run/netns")
#: The C library looks up here where libgcc_s is, which ends threads.
_LOADER = "/etc/ld.so.cache"


def readable(paths: Paths, files: Iterable[str]) -> list[str]:
    """Return the paths below which all is that will be read; `files` are those of the flags."""
    found = [
        *("/proc", _LOADER, *_SYSTEM),
        *_python(),
        *(paths.procfs, paths.sysfs),
        *_host(paths),
        *(place for file in files for place in _places(file)),
    ]
    return [path for path in dict.fromkeys(found) if path != "/"]


def _python() -> Iterator[str]:
    """Yield where modules are that may be imported later; the folder we are in is not meant."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(netfilter_exporter.__file__)))
    yield from (package, sys.prefix, sys.base_prefix, sys.exec_prefix)
    yield from (entry for entry in sys.path if entry and not _is_here(entry))


def _is_here(path: str) -> bool:
    try:
        return os.path.samefile(path, ".")
    except OSError:
        return False


def _host(paths: Paths) -> Iterator[str]:
    for name in (*_SYSTEM, *_OF_THE_HOST):
        yield paths.root(name)
    for name in (*sysctl_d.DIRECTORIES, *modprobe.DIRECTORIES):
        directory = _chased(paths, name)
        if os.path.isdir(directory):
            yield directory
            yield from _targets(paths, name, directory)
        else:
            yield _existing(directory)  # it may come


def _targets(paths: Paths, name: str, directory: str) -> Iterator[str]:
    """Yield the folders into which links of a directory lead, such as /etc for 99-sysctl.conf."""
    try:
        with os.scandir(directory) as entries:
            links = [entry.name for entry in entries if entry.is_symlink()]
    except OSError:
        return
    for link in links:
        target = _chased(paths, f"{name}/{link}")
        if os.path.isfile(target):
            yield _folder(target)


def _chased(paths: Paths, name: str) -> str:
    try:
        return chase(paths, name)
    except ReadError:
        return paths.root(name)


def _existing(path: str) -> str:
    """Return the first directory above `path` that exists; `path` where that is the root."""
    above = os.path.dirname(path)
    while above != "/" and not os.path.isdir(above):
        above = os.path.dirname(above)
    return path if above == "/" else above


def _places(file: str) -> Iterator[str]:
    """Yield the folders of a file, where links lead too: certificates are often linked."""
    yield _folder(os.path.abspath(file))
    yield _folder(os.path.realpath(file))


def _folder(file: str) -> str:
    """Return the folder of a file; the file alone where that is the root of all."""
    folder = os.path.dirname(file)
    return file if folder == "/" else folder
