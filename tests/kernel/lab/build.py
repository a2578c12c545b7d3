"""Builds what is booted, once: root file system, kernels, wheel, and the job of one boot."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Callable

from lab import cpio, kernels, userland
from lab.kernels import Kernel
from lab.userland import World
from support import debian, wheel
from support.locked import locked

TESTS = Path(__file__).resolve().parents[2]
_SOURCES = TESTS / "kernel"


def cache() -> Path:
    """Return the folder outside the tree where everything that is built is kept."""
    folder = debian.cache_folder().parent / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Builder:
    """Makes the parts of images; each is made once for what it is made of."""

    def __init__(self, folder: Path, world: World = userland.BARE) -> None:
        """Put what is of this run alone into `folder`."""
        self._folder = folder
        with locked(cache()):
            self._root = self._build_root(world)
            self._wheel = self._install_wheel()

    def kernel(self, suite: str) -> Kernel:
        """Return the newest kernel of a suite; raises `UnavailableError`."""
        with locked(cache()):
            names = kernels.packages(suite)
            made_of = _made_of(suite, names)

            def build(target: Path) -> None:
                kernels.build(suite, names, self._root / "tree", target)
                _pack(target / "tree", target / "tree.cpio")

            return kernels.load(suite, self._cached(suite, made_of, build))

    def image(self, kernel: Kernel, names: Sequence[str], folder: Path) -> Path:
        """Return an image that runs the scenarios of `names`."""
        lab = self.copy_lab(folder)
        (lab / "job.json").write_text(json.dumps(list(names)))
        return self.packed(kernel, folder)

    def copy_lab(self, folder: Path) -> Path:
        """Put the lab into the tree `job` of `folder`, compiled; return where it is."""
        lab = folder / "job/opt/lab"
        ignored = shutil.ignore_patterns("__pycache__")
        for package in ("lab", "scenarios"):
            shutil.copytree(_SOURCES / package, lab / package, ignore=ignored, dirs_exist_ok=True)
        userland.compile_all(self._root / "tree", lab)
        return lab

    def packed(self, kernel: Kernel, folder: Path) -> Path:
        """Return an image of everything, the tree `job` of `folder` included."""
        _pack(folder / "job", folder / "job.cpio")
        parts = (self._root / "tree.cpio", kernel.tree.with_suffix(".cpio"), self._wheel)
        image = folder / "initrd"
        with image.open("wb") as out:
            for part in (*parts, folder / "job.cpio"):
                with part.open("rb") as source:
                    shutil.copyfileobj(source, out, 1 << 20)
        return image

    def _build_root(self, world: World) -> Path:
        def build(target: Path) -> None:
            userland.build(world, target / "tree")
            with (target / "tree.cpio").open("wb") as out:
                cpio.pack_console(out)
                cpio.pack_tree(target / "tree", out)

        finish = inspect.getsource(sys.modules[world.finish.__module__])
        made_of = [*_made_of(userland.SUITE, world.packages), finish]
        return self._cached(world.name, made_of, build)

    def _install_wheel(self) -> Path:
        built = wheel.wheel(self._folder)
        userland.install_wheel(built, self._root / "tree", self._folder / "wheel")
        _pack(self._folder / "wheel", self._folder / "wheel.cpio")
        return self._folder / "wheel.cpio"

    def _cached(self, name: str, made_of: Iterable[str], build: Callable[[Path], None]) -> Path:
        """Return the folder that `build` fills, made once for what it is made of."""
        code = [inspect.getsource(module) for module in (cpio, kernels, userland)]
        digest = hashlib.sha256("\0".join([*made_of, *code]).encode()).hexdigest()[:16]
        target = cache() / f"{name}-{digest}"
        if not target.is_dir():
            for old in cache().glob(f"{name}-*"):
                shutil.rmtree(old)
            half = cache() / f".{name}"
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            build(half)
            half.rename(target)  # there at once or not at all
        return target


def _pack(tree: Path, archive: Path) -> None:
    with archive.open("wb") as out:
        cpio.pack_tree(tree, out)


def _made_of(suite: str, names: Sequence[str]) -> list[str]:
    return [
        f"{name} {debian.version(folder)}" for name, folder in debian.fetch(suite, names).items()
    ]
