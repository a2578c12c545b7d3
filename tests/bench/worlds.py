"""What the exporter is measured in: namespaces with rules and flows, and a host with modules."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import machine
import rulesets

from support import archive, debian, recording

HERE = Path(__file__).parent
#: By backend: what makes its ruleset, the command that loads it, and a command that changes it.
BACKENDS = {
    "nft": (rulesets.nftables, ("nft", "-f", "-")),
    "iptables-nft": (rulesets.iptables, ("iptables-nft-restore",)),
    "legacy": (rulesets.iptables, ("iptables-legacy-restore",)),
}
#: Those, and forwarded ports, which are short rules.
SHAPES = {**BACKENDS, "legacy, no comments": (rulesets.plain, BACKENDS["legacy"][1])}
CHANGES = {
    "nft": ("nft", "add rule ip kube-proxy nat-postrouting counter"),
    "iptables-nft": ("iptables-nft", "-t", "nat", "-A", "POSTROUTING"),
    "legacy": ("iptables-legacy", "-t", "nat", "-A", "POSTROUTING"),
}
#: Of those, what nft(8) adds.
ADDED = {
    "nft": "add rule ip kube-proxy nat-postrouting counter",
    "iptables-nft": "add rule ip nat POSTROUTING counter",
}
_RECORDED = "6.1/nat-nft"
_LOADED = 250  #: lines of /proc/modules on a server: cards, file systems, netfilter


@contextlib.contextmanager
def ruled(backend: str, rules: int) -> Iterator[str]:
    """Make a namespace with so many rules: those of a kube-proxy, or others of `SHAPES`."""
    make, load = SHAPES[backend]
    with machine.namespace(f"{load[0]}-{rules}") as name:
        machine.run(*machine.within(name, *load), given=make(rules))
        yield name


class Changes(threading.Thread):
    """Changes a ruleset at intervals, over one nft(8) that stays."""

    def __init__(self, name: str, command: str, every: float) -> None:
        super().__init__(daemon=True)
        self.made = 0
        self._command = command
        self._every = every
        self._stop_changes = threading.Event()
        self._nft = subprocess.Popen(
            machine.within(name, "nft", "-i"),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def run(self) -> None:
        with self._nft as nft:
            assert nft.stdin
            while not self._stop_changes.wait(self._every):
                nft.stdin.write(self._command + "\n")
                nft.stdin.flush()
                self.made += 1

    def end(self) -> None:
        self._stop_changes.set()
        self.join()


@contextlib.contextmanager
def changing(name: str, backend: str, every: float) -> Iterator[Changes]:
    """Add a rule every so many seconds."""
    changes = Changes(name, ADDED[backend], every)
    changes.start()
    try:
        yield changes
    finally:
        changes.end()


@contextlib.contextmanager
def flowing(flows: int) -> Iterator[str]:
    """Make a namespace with a few rules and so many entries of connection tracking."""
    with machine.conntrack_limit(flows * 5 // 4), ruled("nft", 20) as name:
        command = [sys.executable, str(HERE / "flows.py"), str(flows)]
        machine.run(*machine.within(name, *command))
        yield name


def modular_host(folder: Path) -> tuple[list[str], str]:
    """Make a Debian host with modules below `folder`; return --path.* flags and where it is from.

    The lists of modules are those of Debian's full kernel if they can be had, else the recorded
    ones, which hold what concerns networking alone.
    """
    recorded = recording.load(_RECORDED)
    archive.extract(recorded.files, str(folder))
    (folder / "proc/sys/net/core").mkdir(parents=True, exist_ok=True)
    (folder / "proc/sys/net/core/netdev_budget").write_text("300\n")
    release = (folder / "proc/sys/kernel/osrelease").read_text().strip()
    modules = folder / "lib/modules" / release
    origin = _full_lists(modules)
    _load_more(folder / "proc/modules", modules / "modules.dep")
    flags = [
        f"--path.procfs={folder}/proc",
        f"--path.sysfs={folder}/sys",
        f"--path.rootfs={folder}",
    ]
    return flags, origin


def _full_lists(modules: Path) -> str:
    depmod = shutil.which("depmod") or shutil.which("/sbin/depmod")
    if depmod is None:
        return "recorded lists: there is no depmod"
    try:
        image = next(
            name
            for name in debian.dependencies("bookworm", "linux-image-amd64")
            if name.startswith("linux-image-")
        )
        tree = debian.fetch("bookworm", [image])[image]
    except (debian.UnavailableError, StopIteration) as error:
        return f"recorded lists: {error}"
    release = image.removeprefix("linux-image-")
    subprocess.run([depmod, "-b", str(tree), release], check=True, capture_output=True)
    for kind in ("dep", "alias", "builtin"):
        shutil.copy(tree / "lib/modules" / release / f"modules.{kind}", modules)
    return f"lists of {image}"


def _load_more(listing: Path, dep: Path) -> None:
    """Make /proc/modules as long as that of a server."""
    lines = listing.read_text().splitlines()
    loaded = {line.split()[0] for line in lines}
    for line in dep.read_text().splitlines():
        name = os.path.basename(line.partition(":")[0]).partition(".ko")[0].replace("-", "_")
        unrelated = "/netfilter/" not in line and name not in loaded
        if len(lines) < _LOADED and unrelated and "kernel/drivers/" in line:
            lines.append(f"{name} 16384 0 - Live 0x0000000000000000")
    listing.write_text("\n".join(lines) + "\n")
