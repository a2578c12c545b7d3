"""Processes in network namespaces, with control groups as container runtimes make them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from support import needs

#: Docker, Docker with the driver cgroupfs, containerd for a pod of the kubelet, and LXC.
GROUPS = (
    "docker-{id}.scope",
    "docker/{id}",
    "kubepods.slice/kubepods-pod{pod}.slice/cri-containerd-{id}.scope",
    "lxc.payload.{id}/init.scope",
)


@contextlib.contextmanager
def containers() -> Iterator[Mapping[str, subprocess.Popen[bytes]]]:
    """Run a process for each of `GROUPS`; yield each by the ID, or the name, of its container."""
    root = _root()
    pod = str(uuid.uuid4()).replace("-", "_")
    made: dict[str, subprocess.Popen[bytes]] = {}
    with contextlib.ExitStack() as stack:
        for number, path in enumerate(GROUPS):
            id_ = f"{os.getpid():032x}{number:032x}" if "lxc" not in path else f"lxc{os.getpid()}"
            group = _made(stack, root, path.format(id=id_, pod=pod))
            made[id_] = process = subprocess.Popen(["unshare", "--net", "sleep", "300"])
            stack.callback(process.wait)
            stack.callback(process.kill)
            (group / "cgroup.procs").write_text(str(process.pid))
            _wait_for_namespace(process.pid)
        yield made


def _root() -> Path:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    places = [Path(place) for _, place, kind, *_ in mounts if kind == "cgroup2"]
    if not places or not os.access(places[0], os.W_OK):
        needs.lacks("no control groups (cgroup2) to write to", forced=needs.KERNEL)
    return places[0]


def _made(stack: contextlib.ExitStack, root: Path, path: str) -> Path:
    """Make a control group and those above it that are missing; they go with the stack."""
    group = root / path
    for each in (*reversed(group.relative_to(root).parents), group.relative_to(root)):
        if not (root / each).exists():
            (root / each).mkdir()
            stack.callback(_remove, root / each)
    return group


def _remove(group: Path) -> None:
    with contextlib.suppress(OSError):  # another test's is in it
        group.rmdir()


def _wait_for_namespace(pid: int) -> None:
    end = time.monotonic() + 20
    while os.stat(f"/proc/{pid}/net/stat").st_ino == os.stat("/proc/self/net/stat").st_ino:
        assert time.monotonic() < end
        time.sleep(0.01)
