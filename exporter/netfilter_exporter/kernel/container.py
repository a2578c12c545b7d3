"""Whose file system is below --path.rootfs: the host's, or a container image's."""

from __future__ import annotations

import os

from netfilter_exporter.kernel.files import Paths

#: include/uapi/linux/nsfs.h (v6.18): the inode numbers of the initial namespaces are fixed.
_INITIAL = {"pid": 0xEFFFFFFC, "cgroup": 0xEFFFFFFB}


def sees_host_root(paths: Paths) -> bool:
    """Tell whether `paths.rootfs` is the host's root.

    It is where --path.rootfs was given. Else it is our own root, and that is the host's unless we
    run in a container: a new pid or cgroup namespace, of which at least one is always made.
    """
    if paths.rootfs != "/":
        return True
    return all(_is_initial(kind, inode) for kind, inode in _INITIAL.items())


def _is_initial(kind: str, inode: int) -> bool:
    try:
        return os.readlink(f"/proc/self/ns/{kind}") == f"{kind}:[{inode}]"
    except OSError:
        return True  # a kernel without that kind of namespace
