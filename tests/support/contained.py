"""Starts a command as a container runtime would, without one.

    python -m support.contained JSON    in new mount, pid, ipc and uts namespaces

JSON is a `Start`. The root is put together of what the command needs of this machine, and of the
mounts of the manifest; /proc and /sys are those that runc gives. The system call filter of the
runtime is not made: it would only forbid more.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from support.manifests import NUMBERS

_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_KEEPCAPS, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 8, 24, 38
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
#: runtime-spec's defaults, which containerd, CRI-O, Docker and Podman share.
_MASKED = ("acpi", "asound", "kcore", "keys", "latency_stats", "timer_list", "sched_debug", "scsi")
_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_DEVICES = ("null", "zero", "full", "random", "urandom")


class Start(NamedTuple):
    """What is started, how a runtime would, and on which host."""

    root: str  #: an empty folder
    host: str  #: stands for the root of the host, but for its /proc and /sys
    image: tuple[str, ...]  #: folders of this machine that stand for the image
    mounts: tuple[tuple[str, str, bool], ...]  #: source on the host, target, whether read-only
    user: int
    group: int
    groups: tuple[int, ...]
    capabilities: tuple[str, ...]
    permitted: bool
    no_new_privileges: bool
    read_only: bool
    command: tuple[str, ...]
    environment: dict[str, str]


def _mount(*arguments: str) -> None:
    subprocess.run(("mount", *arguments), check=True)


def _bind(source: str, target: str, *, read_only: bool) -> None:
    """Mount `source` by itself, with what is mounted below it, and that as writable as it is."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        Path(target).touch()
    _mount("--rbind", source, target)
    if read_only:
        _mount("-o", "remount,ro,bind", target)


def _on_host(start: Start, source: str) -> str:
    """Return where a path of the host is; kernel file systems are this machine's."""
    if source.split("/")[1] in {"proc", "sys"}:
        return source
    return os.path.realpath(start.host + source.rstrip("/"))


def _make_root(start: Start) -> None:
    root = start.root
    _mount("--make-rprivate", "/")
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", root)
    for name in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
        else:
            _bind(f"/{name}", f"{root}/{name}", read_only=start.read_only)
    for folder in start.image:
        _bind(folder, root + folder, read_only=start.read_only)
    for name in ("proc", "sys", "dev", "etc"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    os.makedirs(f"{root}/tmp", exist_ok=True)
    os.chmod(f"{root}/tmp", 0o1777)
    for name in _DEVICES:
        _bind(f"/dev/{name}", f"{root}/dev/{name}", read_only=False)
    for source, target, read_only in start.mounts:
        _bind(_on_host(start, source), root + target, read_only=read_only)
        if source == "/":  # what is mounted below the root of a host
            for name in ("proc", "sys"):
                _mount("--rbind", f"/{name}", f"{root}{target}/{name}")
    _mount_kernel(root)
    if start.read_only:
        _mount("-o", "remount,ro,bind", root)


def _mount_kernel(root: str) -> None:
    _mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", f"{root}/proc")
    _mount("-t", "sysfs", "-o", "nosuid,nodev,noexec,ro", "sysfs", f"{root}/sys")
    for name in _READ_ONLY:
        if os.path.exists(f"{root}/proc/{name}"):
            _mount("--bind", f"{root}/proc/{name}", f"{root}/proc/{name}")
            _mount("-o", "remount,ro,bind", f"{root}/proc/{name}")
    for name in _MASKED:
        path = f"{root}/proc/{name}"
        if os.path.isdir(path):
            _mount("-t", "tmpfs", "-o", "ro", "tmpfs", path)
        elif os.path.exists(path):
            _mount("--bind", "/dev/null", path)


def _call(name: str, *arguments: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def _enter(root: str) -> None:
    """Make `root` the root, and leave nothing of the old one mounted."""
    os.chdir(root)
    _call("syscall", _PIVOT_ROOT[os.uname().machine], b".", b".")
    subprocess.run(("umount", "-l", "."), check=True)
    os.chdir("/")


def _become(start: Start) -> None:
    """Give away what the runtime gives away, in the order in which runc does."""
    kept = sum(1 << NUMBERS[name] for name in start.capabilities)
    for number in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
        if not kept & 1 << number:
            _call("prctl", _PR_CAPBSET_DROP, number, 0, 0, 0)
    _call("prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups(start.groups)
    os.setresgid(start.group, start.group, start.group)
    os.setresuid(start.user, start.user, start.user)
    held = kept if start.permitted else 0
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _call("capset", header, (ctypes.c_uint32 * 6)(held, held, 0, 0, 0, 0))
    if start.no_new_privileges:
        _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def main(text: str) -> None:
    """Start it."""
    start = Start(**json.loads(text))
    _make_root(start)
    _enter(start.root)
    _become(start)
    os.execve(start.command[0], start.command, start.environment)


if __name__ == "__main__":
    main(*sys.argv[1:])
