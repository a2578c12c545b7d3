"""Whose file system is below --path.rootfs: the host's, or a container image's."""

from __future__ import annotations

import os
import re

from netfilter_exporter.kernel.files import Paths

#: include/uapi/linux/nsfs.h (v6.18): the inode numbers of the initial namespaces are fixed.
_INITIAL = {"pid": 0xEFFFFFFC, "cgroup": 0xEFFFFFFB}
_MOUNTS = "/proc/self/mountinfo"
#: Blanks and backslashes of a path: ``mangle_path`` in fs/seq_file.c (v6.18).
_ESCAPE = re.compile(r"\\([0-7]{3})")


def shows_host(paths: Paths, name: str) -> bool:
    """Return whether the host's `name`, an absolute path, can be seen, if the host has it.

    --path.rootfs may be the root of the host, or be put together of single mounts: then only what
    is below one of them is the host's. Without that flag it is our own root, and that is the host's
    unless we run in a container: a new pid or cgroup namespace, of which one is always made.
    """
    if paths.rootfs == "/":
        return all(_is_initial(kind, inode) for kind, inode in _INITIAL.items())
    mounts = _mounts_below(os.path.realpath(paths.rootfs))
    return not mounts or any(f"{name}/".startswith(f"{mount}/") for mount in mounts)


def _is_initial(kind: str, inode: int) -> bool:
    try:
        return os.readlink(f"/proc/self/ns/{kind}") == f"{kind}:[{inode}]"
    except OSError:
        return True  # a kernel without that kind of namespace


def _mounts_below(root: str) -> frozenset[str]:
    """Return the mount points below `root`, without it; none where it is a mount point itself."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
            points = {_unescape(line.split(" ", 5)[4]) for line in file}
    except (OSError, IndexError):
        return frozenset()
    if root in points:
        return frozenset()
    return frozenset(point[len(root) :] for point in points if point.startswith(f"{root}/"))


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
