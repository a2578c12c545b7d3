"""The root file system of the guest: Debian's tools and CPython, and the wheel under test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Callable, NamedTuple

from support import debian

SUITE = "bookworm"
PYTHON = "python3.11"

PACKAGES = (
    # What is run in the guest.
    "busybox-static",
    "conntrack",
    "iproute2",
    "iptables",
    "ipvsadm",
    "kmod",
    "nftables",
    f"{PYTHON}-minimal",
    # What those need.
    "libbpf1",
    "libbsd0",
    "libbz2-1.0",
    "libc6",
    "libcap2",
    "libedit2",
    "libelf1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "libgmp10",
    "libip4tc2",
    "libip6tc2",
    "libjansson4",
    "libkmod2",
    "liblzma5",
    "libmd0",
    "libmnl0",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnl-3-200",
    "libnl-genl-3-200",
    "libnftables1",
    "libnftnl11",
    "libpcre2-8-0",
    "libpopt0",
    f"lib{PYTHON}-minimal",
    f"lib{PYTHON}-stdlib",
    "libselinux1",
    "libssl3",
    "libtinfo6",
    "libxtables12",
    "libzstd1",
    "zlib1g",
)
#: Of the lab of scenarios alone.
_SWITCH = (
    "openvswitch-common",
    "openvswitch-switch",
    "libcap-ng0",
    "libevent-2.1-7",
    "libhogweed6",
    "libnettle8",
    "libnuma1",
    "libunbound8",
    "libxdp1",
)
#: What is needed of usr/share.
_SCHEMA = "usr/share/openvswitch/vswitch.ovsschema"
_LEFT_OUT = (
    "usr/share",
    "usr/lib/debug",
    "usr/lib/x86_64-linux-gnu/gconv",
    f"usr/lib/{PYTHON}/lib2to3",
    f"usr/lib/{PYTHON}/ensurepip",
    f"usr/lib/{PYTHON}/distutils",
    f"usr/lib/{PYTHON}/pydoc_data",
    f"usr/lib/{PYTHON}/idlelib",
)
_LOADER = "lib64/ld-linux-x86-64.so.2"
_LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
#: Where Debian's interpreter looks for modules that are not Debian's, and everybody for commands.
MODULES = f"usr/local/lib/{PYTHON}/dist-packages"
COMMANDS = "usr/local/bin"

_INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /etc /root /var/lib
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox mount -t tmpfs tmpfs /run
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
export PYTHONPATH=/opt/lab PYTHONDONTWRITEBYTECODE=1
ip link set lo up
{python} -m lab.guest /opt/lab/job.json /dev/ttyS1 || echo "the guest failed: $?"
/bin/busybox reboot -f
"""


class BuildError(Exception):
    """A part of the lab could not be built."""


class World(NamedTuple):
    """A root file system, and what the kernel starts in it."""

    name: str  #: what it is called in the cache
    packages: tuple[str, ...]
    finish: Callable[[Path], None]  #: writes /init, and what packages' scripts would write


def build(world: World, target: Path) -> None:
    """Make the root file system, without the wheel, in the folder `target`."""
    packages = debian.fetch(SUITE, world.packages)
    for folder in packages.values():
        shutil.copytree(folder, target, symlinks=True, dirs_exist_ok=True)
    for name in _LEFT_OUT:
        shutil.rmtree(target / name, ignore_errors=True)
    (target / ".version").unlink()
    for folder in target.rglob("test*"):
        if folder.is_dir() and f"/{PYTHON}/" in str(folder):
            shutil.rmtree(folder)
    _merge_usr(target)
    _link_tools(target)
    world.finish(target)
    compile_all(target, target / f"usr/lib/{PYTHON}")


def _finish(target: Path) -> None:
    (package,) = debian.fetch(SUITE, ["openvswitch-switch"]).values()
    (target / _SCHEMA).parent.mkdir(parents=True)
    shutil.copy(package / _SCHEMA, target / _SCHEMA)
    init = target / "init"
    init.write_text(_INIT.format(python=f"/usr/bin/{PYTHON}"))
    init.chmod(0o755)


#: The lab of scenarios: a shell, and lab.guest.
BARE = World("root", (*PACKAGES, *_SWITCH), _finish)


def install_wheel(wheel: Path, root: Path, target: Path) -> None:
    """Install `wheel` and what it depends on for the guest's interpreter, below `target`."""
    folder = target / MODULES
    pip = (sys.executable, "-m", "pip", "install", "-q", "--target", str(folder))
    platform = ("--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON[6:]}")
    abis = ("--platform=manylinux2014_x86_64", "--platform=manylinux_2_28_x86_64")
    run(*pip, *platform, *abis, str(wheel))
    _install_commands(folder / "bin", target / COMMANDS)
    compile_all(root, folder)


def _install_commands(source: Path, target: Path) -> None:
    """Move what pip has made for its own interpreter, and name the guest's."""
    shutil.copytree(source, target)
    shutil.rmtree(source)
    for command in target.iterdir():
        _, _, rest = command.read_text().partition("\n")
        command.write_text(f"#!/usr/bin/{PYTHON}\n{rest}")


def compile_all(root: Path, folder: Path) -> None:
    """Compile the modules below `folder` with the guest's interpreter; emulated, it takes long."""
    invalidation = ("--invalidation-mode", "unchecked-hash")
    stripped = ("-s", str(folder.parent), "-p", "/")
    guest_python(root, "-m", "compileall", "-q", *invalidation, *stripped, str(folder))


def guest_python(root: Path, *arguments: str) -> None:
    environment = {**os.environ, "PYTHONHOME": str(root / "usr"), "PYTHONPATH": ""}
    run(*in_root(root, f"usr/bin/{PYTHON}"), *arguments, environment=environment)


def in_root(root: Path, program: str, name: str | None = None) -> list[str]:
    """Return the command that runs a program of the guest on this machine, as `name`."""
    libraries = ":".join(str(root / folder) for folder in _LIBRARIES)
    command = [str(root / _LOADER), "--library-path", libraries]
    return [*command, "--argv0", name or program, str(root / program)]


def run(*command: str, environment: dict[str, str] | None = None) -> str:
    """Run a command and return what it says; raise BuildError with its complaint."""
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=300, env=environment
        )
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{Path(command[0]).name}: {error.stderr.strip()[-2000:]}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(str(error)) from None
    return done.stdout


def _merge_usr(target: Path) -> None:
    """Make /bin, /sbin, /lib and /lib64 links into /usr: packages still use either name."""
    for name in ("bin", "sbin", "lib", "lib64"):
        old, new = target / name, target / "usr" / name
        new.mkdir(parents=True, exist_ok=True)
        if old.is_dir() and not old.is_symlink():
            _move_into(old, new)
            shutil.rmtree(old)
        old.symlink_to(f"usr/{name}")


def _move_into(old: Path, new: Path) -> None:
    for entry in old.iterdir():
        place = new / entry.name
        if entry.is_dir() and not entry.is_symlink() and place.is_dir():
            _move_into(entry, place)
        else:
            entry.replace(place)


def _link_tools(target: Path) -> None:
    """Make the links that the packages' scripts would make, and busybox's for what is left."""
    binaries = {"usr/sbin/iptables": "iptables-nft", "usr/sbin/ip6tables": "ip6tables-nft"}
    busybox = ("sh", "cat", "ls", "mkdir", "mount", "umount", "rm", "sleep", "env")
    busybox += ("cp", "dmesg", "sed", "sysctl")
    for name in busybox:
        binaries.setdefault(f"usr/bin/{name}", "/bin/busybox")
    for name, destination in binaries.items():
        link = target / name
        if not link.exists() and not link.is_symlink():
            link.symlink_to(destination)
