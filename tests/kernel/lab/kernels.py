"""Debian's kernels: the newest of a suite, with the modules that a NAT host can need."""

from __future__ import annotations

import lzma
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from lab import userland
from support import debian

#: Oldest first. The cloud flavour is the smallest; its network modules are the same.
SUITES = ("bullseye", "bookworm", "trixie", "sid")
_META = "linux-image-cloud-amd64"
#: Since 2025 a kernel's image and its modules are packages of their own.
_PARTS = re.compile(r"linux-(image|binary|modules)-[0-9]")
_KEPT = (
    "kernel/net/",
    "kernel/lib/",
    "kernel/crypto/",
    "kernel/arch/x86/crypto/",
    "kernel/drivers/net/veth",
    "kernel/drivers/net/dummy",
)


class Kernel(NamedTuple):
    """A kernel that is ready to boot."""

    suite: str
    release: str
    image: Path  #: vmlinuz
    tree: Path  #: /lib/modules and /boot/config-RELEASE

    @property
    def version(self) -> tuple[int, ...]:
        return tuple(map(int, self.release.split("-")[0].split("+")[0].split(".")[:2]))

    @property
    def label(self) -> str:
        """6.12 and the like: what a column of the matrix is called."""
        return ".".join(map(str, self.version))


def packages(suite: str) -> list[str]:
    """Return the packages of the suite's newest kernel."""
    found = [name for name in debian.dependencies(suite, _META) if _PARTS.match(name)]
    for name in found:  # grows while it is walked
        found += [
            other
            for other in debian.dependencies(suite, name)
            if _PARTS.match(other) and other not in found
        ]
    return found


def build(suite: str, names: list[str], root: Path, target: Path) -> None:
    """Unpack the kernel of `names` into `target`: vmlinuz and the folder tree.

    Modules are uncompressed, for an emulated CPU is slow at that, and modules.dep is made anew
    with the guest's own depmod; modules.builtin and modules.order stay the real ones.
    """
    for package in debian.fetch(suite, names).values():
        for image in package.glob("boot/vmlinuz-*"):
            shutil.copy(image, target / "vmlinuz")
        for folder in (*package.glob("lib/modules/*"), *package.glob("usr/lib/modules/*")):
            _copy_modules(folder, target / "tree/usr/lib/modules" / folder.name)
        for image in package.glob("usr/lib/modules/*/vmlinuz"):
            shutil.copy(image, target / "vmlinuz")
        for config in package.glob("boot/config-*"):
            (target / "tree/boot").mkdir(parents=True, exist_ok=True)
            shutil.copy(config, target / "tree/boot" / config.name)
    release = load(suite, target).release
    depmod = userland.in_root(root, "usr/bin/kmod", "depmod")
    userland.run(*depmod, "-b", str(target / "tree/usr"), release)


def load(suite: str, folder: Path) -> Kernel:
    """Return the kernel that `build` put into `folder`."""
    (modules,) = (folder / "tree/usr/lib/modules").iterdir()
    return Kernel(suite, modules.name, folder / "vmlinuz", folder / "tree")


def _copy_modules(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.rglob("*")):
        name = str(path.relative_to(source))
        if not path.is_file() or path.is_symlink() or not _is_kept(name):
            continue
        place = target / name.removesuffix(".xz")
        place.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".xz"):
            place.write_bytes(lzma.decompress(path.read_bytes()))
        else:
            shutil.copy(path, place)


def _is_kept(name: str) -> bool:
    if "/" not in name:
        # What depmod makes is made anew; what the build left says what is built in.
        return name in {"config", "modules.order", "modules.builtin", "modules.builtin.modinfo"}
    return name.startswith(_KEPT)
