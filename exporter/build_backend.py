"""Builds the wheel and the sdist with setuptools, and makes both reproducible (PEP 517).

The same source gives the same bytes, whenever, wherever, with which umask and by whom it is built.
setuptools writes the times and modes of files into both, and the builder's name into the sdist.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any, Optional

from setuptools import build_meta

get_requires_for_build_sdist = build_meta.get_requires_for_build_sdist
get_requires_for_build_wheel = build_meta.get_requires_for_build_wheel
prepare_metadata_for_build_wheel = build_meta.prepare_metadata_for_build_wheel
get_requires_for_build_editable = build_meta.get_requires_for_build_editable
prepare_metadata_for_build_editable = build_meta.prepare_metadata_for_build_editable
build_editable = build_meta.build_editable

Settings = Optional[Mapping[str, Any]]

_EPOCH = (1980, 1, 1, 0, 0, 0)  #: the earliest time that zip can express
_EPOCH_SECONDS = 315532800  #: the same, for tar


def build_wheel(directory: str, settings: Settings = None, metadata: str | None = None) -> str:
    """Write the wheel into `directory`; return its name."""
    name: str = build_meta.build_wheel(directory, settings, metadata)
    _rewrite(os.path.join(directory, name), _plain_zip)
    return name


def build_sdist(directory: str, settings: Settings = None) -> str:
    """Write the sdist into `directory`; return its name."""
    name: str = build_meta.build_sdist(directory, settings)
    _rewrite(os.path.join(directory, name), _plain_tar)
    return name


def _rewrite(path: str, plain: Any) -> None:
    other = f"{path}.plain"
    plain(path, other)
    os.replace(other, path)


def _plain_zip(source: str, target: str) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():  # in setuptools' order: sorted, and RECORD last
            plain = zipfile.ZipInfo(entry.filename, _EPOCH)
            plain.external_attr = (stat.S_IFREG | _mode(entry.external_attr >> 16)) << 16
            plain.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(plain, old.read(entry))


def _plain_tar(source: str, target: str) -> None:
    with (
        tarfile.open(source) as old,
        open(target, "wb") as file,
        # Its header has a name and a time, too.
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for entry in sorted(old.getmembers(), key=lambda entry: entry.name):
            new.addfile(_plain(entry), old.extractfile(entry) if entry.isreg() else None)


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    plain = tarfile.TarInfo(entry.name)
    plain.type, plain.size, plain.linkname = entry.type, entry.size, entry.linkname
    plain.mode = _mode(entry.mode | (0o100 if entry.isdir() else 0))
    plain.mtime = _EPOCH_SECONDS
    return plain


def _mode(mode: int) -> int:
    """Return what git keeps of a mode: whether it is executable."""
    return 0o755 if mode & stat.S_IXUSR else 0o644
