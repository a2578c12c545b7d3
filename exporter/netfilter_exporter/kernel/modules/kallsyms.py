"""Symbols of the kernel image: they prove what is built in where no file does.

Source: ``s_show`` in kernel/kallsyms.c (v6.18): the image's own symbols come first, then those of
modules, with a tab and ``[module]`` behind them.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Collection

from netfilter_exporter.kernel.errors import from_oserror
from netfilter_exporter.kernel.files import open_file

_CHUNK = 1 << 18


class BuiltinSymbols:
    """Looks for symbols in the image, part by part.

    It has several megabytes, each line made as it is read: 50 ms on a server, many seconds on a
    small router, whose scrape must not wait for the end. A symbol that is not found proves
    nothing: some systems hide the file or leave it empty.
    """

    def __init__(self, path: str, wanted: Collection[str]) -> None:
        """Open the file; raises `ReadError`. It is closed at the end of the search."""
        self.found: frozenset[str] = frozenset()
        self._wanted = {name.encode(): name for name in wanted}
        self._path = path
        self._rest = b""
        self._descriptor = open_file(path)
        self._close = weakref.finalize(self, os.close, self._descriptor)

    @property
    def done(self) -> bool:
        """Whether everything that could be found is."""
        return not self._close.alive

    def search(self, seconds: float) -> None:
        """Go on for that long, or to the end; raises `ReadError`, which ends it, too."""
        end = time.monotonic() + seconds
        try:
            while not self.done and time.monotonic() < end:
                self._take(os.read(self._descriptor, _CHUNK))
        except OSError as error:
            self._close()
            raise from_oserror(error, self._path) from None

    def _take(self, chunk: bytes) -> None:
        piece, modules, _ = (self._rest + chunk).partition(b"\t[")
        lines, newline, rest = piece.rpartition(b"\n")
        self._rest = rest if newline else rest[-_CHUNK:]
        names = self._wanted.keys() & set(lines.split())
        self.found |= {self._wanted[name] for name in names}
        if not chunk or modules or len(self.found) == len(self._wanted):
            self._close()
