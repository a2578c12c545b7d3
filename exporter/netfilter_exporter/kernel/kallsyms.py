"""Symbols of the kernel image: they prove what is built in where no file tells.

Source: ``s_show`` in kernel/kallsyms.c (v6.18): the image's own symbols come first, then those of
modules, with a tab and ``[module]`` behind them.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from netfilter_exporter.kernel.errors import from_oserror

_FLAGS = os.O_RDONLY | os.O_CLOEXEC
_CHUNK = 1 << 18


def builtin_symbols(path: str, wanted: Collection[str]) -> frozenset[str]:
    """Return those of the wanted symbols that are in the image.

    The file is several megabytes and takes about 50 ms; it is read in pieces. A symbol that is
    not found proves nothing: some systems hide the file or leave it empty.
    """
    names = {name.encode() for name in wanted}
    found: set[bytes] = set()
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        raise from_oserror(error, path) from None
    try:
        rest = b""
        while names - found and (chunk := os.read(descriptor, _CHUNK)):
            piece, modules, _ = (rest + chunk).partition(b"\t[")
            lines, newline, rest = piece.rpartition(b"\n")
            found |= names.intersection(lines.split())
            if modules:
                break
            if not newline:
                rest = rest[-_CHUNK:]
    except OSError as error:
        raise from_oserror(error, path) from None
    finally:
        os.close(descriptor)
    return frozenset(name.decode() for name in found)
