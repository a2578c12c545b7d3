"""A Python that version managers may not have yet: that of Debian's sid, unpacked.

It needs a newer C library than this machine has, so it gets its own from beside it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from support import debian

VERSION = "3.14"
SUITE = "sid"
_PACKAGES = (
    *(f"python{VERSION}-minimal", f"libpython{VERSION}-minimal", f"libpython{VERSION}-stdlib"),
    *("libc6", "libgcc-s1", "libssl3t64", "libffi8", "libexpat1", "libuuid1"),
    *("libbz2-1.0", "liblzma5", "libzstd1", "zlib1g"),
)
_LOADER = "usr/lib64/ld-linux-x86-64.so.2"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


def interpreter() -> Path:
    """Return the interpreter, made once; raises `UnavailableError`."""
    root = debian.cache_folder().parent / "pythons" / f"debian-{VERSION}"
    program = root / "usr/bin" / f"python{VERSION}"
    if not root.exists():
        if not shutil.which("patchelf"):
            raise debian.UnavailableError("missing: patchelf")
        half = root.with_name(f".{root.name}")
        shutil.rmtree(half, ignore_errors=True)
        for folder in debian.fetch(SUITE, _PACKAGES).values():
            shutil.copytree(folder, half, symlinks=True, dirs_exist_ok=True)
        _use_own_libraries(half / program.relative_to(root), root)
        half.rename(root)  # there at once or not at all
    return program


def _use_own_libraries(program: Path, root: Path) -> None:
    """Name the loader and the libraries below `root` in the program, for its children too."""
    names = ("--set-interpreter", root / _LOADER, "--force-rpath", "--set-rpath", root / _LIBRARIES)
    command = ["patchelf", *map(str, names), str(program)]
    subprocess.run(command, check=True, capture_output=True)
