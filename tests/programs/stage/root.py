"""The root file system that the programs are in, and a private copy of it for each host.

Nothing is installed on the machine: Debian's packages are unpacked in the cache, and a host sees
them through an overlay that is gone with its mount namespace.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from support import debian

#: What any of the programs may start.
_BASE = (
    "base-files",
    "base-passwd",
    "bash",
    "bsdutils",
    "coreutils",
    "dash",
    "debianutils",
    "diffutils",
    "findutils",
    "grep",
    "hostname",
    "iproute2",
    "iptables",
    "kmod",
    "mawk",
    "nftables",
    "procps",
    "sed",
    "util-linux",
)
#: What packages' scripts and update-alternatives would make.
_LINKS = {
    "var/lock": "/run/lock",
    "var/run": "/run",
    "usr/bin/awk": "mawk",
    "usr/bin/which": "which.debianutils",
    **{
        f"usr/sbin/{tool}{suffix}": f"{tool}-nft{suffix}"
        for tool in ("iptables", "ip6tables")
        for suffix in ("", "-save", "-restore")
    },
}
_MODULES = "usr/lib/python3/dist-packages"
_USERS = ("messagebus", "systemd-network", "dnsmasq", "libvirt-qemu", "kvm")


def unpacked(suite: str, packages: Iterable[str]) -> Path:
    """Return the root with `packages` of a suite; raises `debian.UnavailableError`."""
    found = debian.root(suite, (*_BASE, *packages))
    if not any((found / _MODULES).glob("*/__pycache__")):  # firewalld takes ten seconds without
        compile_all = ("python3", "-m", "compileall", "-q", f"/{_MODULES}")
        where = {"PATH": "/usr/bin"}  # and nothing that says where Python writes
        command = ("/usr/sbin/chroot", str(found), *compile_all)
        subprocess.run(command, env=where, capture_output=True, check=False)
    return found


def private(lower: Path) -> Path:
    """Return a copy of a root that can be written to, in the mount namespace of this process.

    /run and /tmp of the machine are hidden, so the names of network namespaces are private too. The
    copy has the same /run, with what is mounted there later.
    """
    for folder in ("/tmp", "/run"):
        _mount("-t", "tmpfs", "stage", folder)
    _mount("--make-shared", "/run")
    _mount("-t", "sysfs", "stage", "/sys")
    upper, work, root = (Path("/tmp/stage", name) for name in ("upper", "work", "root"))
    for folder in (upper, work, root, Path("/run/netns"), Path("/run/lock"), Path("/run/dbus")):
        folder.mkdir(parents=True)
    layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
    _mount("-t", "overlay", "-o", layers, "stage", str(root))
    for name in ("proc", "sys", "dev", "run"):
        (root / name).mkdir(exist_ok=True)
        _mount("--rbind", f"/{name}", str(root / name))
    _mount("-t", "tmpfs", "stage", str(root / "tmp"))
    _finish(root)
    return root


def _finish(root: Path) -> None:
    """Do what packages' scripts would."""
    for name, more in (("passwd", "/:/usr/sbin/nologin"), ("group", "")):
        text = (root / f"usr/share/base-passwd/{name}.master").read_text().replace(":*:", ":x:")
        for number, user in enumerate(_USERS, 100):
            text += f"{user}:x:{number}:{f'{number}::{more}' if more else ''}\n"
        (root / "etc" / name).write_text(text)
    (root / "etc/machine-id").write_text(f"{'5eed' * 8}\n")
    for name, target in _LINKS.items():
        link = root / name
        if link.is_dir() and not link.is_symlink():
            link.rmdir()
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)
