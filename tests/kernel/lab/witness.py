"""Brings a host into a state and tells what its kernel says of it.

    python -m lab.witness JOB.json PREFIX

In a guest, or in a network namespace of the running kernel that it is started in. The job names
the state and has the commands that make it, as they stand in a recording; what is printed is one
line that `results.packed` makes.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.peer import ECHO_PORT, Peer
from lab.results import packed
from lab.tap import Tap, is_harmless
from netfilter_exporter import collectors
from netfilter_exporter.collection import Gatherer
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.rules.families import Family

#: Counts what is recorded: one more with each question that older recordings do not answer. See
#: tests/support/unanswered.py.
RECORDER = 3

CLIENT, CLIENT6 = "10.77.0.2", "fd77::2"
OUTSIDE, OUTSIDE6 = "198.51.100.2", "fd78::2"
_LINKS = (
    ("lan0", "client", ("10.77.0.1", "fd77::1"), (CLIENT, CLIENT6)),
    ("wan0", "outside", ("198.51.100.1", "fd78::1"), (OUTSIDE, OUTSIDE6)),
)
_FLOWS = 3
_LOCK = Path("/proc/sys/kernel/modules_disabled")

#: What is always recorded; what the exporter opens is added to it.
_FILES = (
    "/proc/cmdline",
    "/proc/modules",
    "/proc/net/dev",
    "/proc/net/ip_tables_names",
    "/proc/net/ip6_tables_names",
    "/proc/net/netstat",
    "/proc/net/nf_conntrack",
    "/proc/net/nf_conntrack_expect",
    "/proc/net/snmp",
    "/proc/net/snmp6",
    "/proc/net/stat/nf_conntrack",
    "/proc/sys/kernel/modules_disabled",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/ostype",
    "/proc/sys/kernel/tainted",
    "/proc/sys/net/bridge/*",
    "/proc/sys/net/core/netdev_budget",
    "/proc/sys/net/core/somaxconn",
    "/proc/sys/net/ipv4/conf/*/forwarding",
    "/proc/sys/net/ipv4/conf/*/rp_filter",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv4/vs/conntrack",
    "/proc/sys/net/ipv6/conf/*/force_forwarding",
    "/proc/sys/net/ipv6/conf/*/forwarding",
    "/proc/sys/net/netfilter/**",
    "/proc/sys/net/nf_conntrack_max",
    "/proc/version",
    "/sys/module/*/initstate",
    "/sys/module/*/parameters/*",
    "/sys/module/*/refcnt",
    "/sys/module/*/taint",
)
_MODULE = re.compile(
    r"/sys/module/(nf_|nft_|nfnetlink|xt_|x_tables|ip[6_tv]|bridge|br_netfilter|ebt)"
)
#: What the exporter opens and no recording needs: of processes, of Python, and of all symbols.
_LEFT_OUT = ("/proc/[0-9]*", "/proc/self/*", "/proc/kallsyms", "/proc/config.gz", "/sys/devices/*")
_MOST = 1 << 16  #: bytes of a file


class Machine:
    """A router with a client and a host outside, which knows no way back to the client."""

    def __init__(self, prefix: str) -> None:
        self._names = [f"{prefix}-{name}" for _, name, _, _ in _LINKS]
        for (interface, _, ours, theirs), name in zip(_LINKS, self._names):
            _connect(interface, name, ours, theirs)
        run(f"ip -n {self._names[0]} route add default via 10.77.0.1")
        run(f"ip -n {self._names[0]} -6 route add default via fd77::1")
        self._peers = [Peer(name) for name in self._names]

    def flows(self) -> Iterator[str]:
        """Let the client open flows; yield how many were answered."""
        client = self._peers[0]
        for address in (OUTSIDE, OUTSIDE6):
            answered = client.flows(address, ECHO_PORT, _FLOWS, tcp=True, patient=True)
            yield f"client -> {address} port {ECHO_PORT}: {answered}/{_FLOWS + 1} answered"

    def close(self) -> None:
        """Remove what was made."""
        for peer in self._peers:
            peer.close()
        for interface, _, _, _ in _LINKS:
            subprocess.run(["ip", "link", "del", interface], check=False)
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def _connect(interface: str, name: str, ours: tuple[str, str], theirs: tuple[str, str]) -> None:
    inner = f"ip -n {name}"
    for command in (
        f"ip netns add {name}",
        f"ip link add {interface} type veth peer name eth0 netns {name}",
        f"ip addr add {ours[0]}/24 dev {interface}",
        f"ip -6 addr add {ours[1]}/64 dev {interface} nodad",
        f"ip link set {interface} up",
        f"{inner} link set lo up",
        f"{inner} addr add {theirs[0]}/24 dev eth0",
        f"{inner} -6 addr add {theirs[1]}/64 dev eth0 nodad",
        f"{inner} link set eth0 up",
    ):
        run(command)


def run(command: str) -> None:
    subprocess.run(command.split(), check=True)


def record(job: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Make the state of a job, and return its files and texts."""
    machine = Machine(prefix)
    try:
        commands = "".join(carried_out(job["commands"]))
        flows = list(machine.flows()) if job["flows"] else []
        return {**_recorded(), "commands": commands, "flows": flows}
    finally:
        machine.close()


def _recorded() -> dict[str, Any]:
    """Return files before anything is asked, and then the answers."""
    files = dict(read_files(wanted_files()))
    if _LOCK.exists():
        _LOCK.write_text("1\n")  # until this machine boots again
    if not is_harmless():
        raise RuntimeError("asking could load modules")
    tap = Tap()
    opened = _scrape(tap)
    tap.ask_always()
    facts = {f"tracked_{family.value}": tap.probe(family) for family in Family}
    files |= {path: each for path, each in read_files(opened) if path not in files}
    return {
        "release": os.uname().release,
        "interfaces": {name: index for index, name in socket.if_nameindex()},
        "files": files,
        "netlink": tap.texts(),
        "facts": facts,
        "reference": _listed(),
    }


def carried_out(commands: str) -> Iterator[str]:
    """Run commands as they stand in a recording; yield them with what failed, to be recorded."""
    for command in re.findall(r"^\$ (.*\n(?:(?![$#] ).*\n)*)", commands, re.MULTILINE):
        if command.startswith("modprobe ") and not os.path.exists("/proc/modules"):
            continue
        yield f"$ {command}"
        yield from (f"# {line}\n" for line in _complaints(command))


def _complaints(command: str) -> list[str]:
    setting = re.fullmatch(r"sysctl -w ([\w./]+)=(\w+)\n", command)
    if setting:  # the guest has no sysctl(8)
        Path("/proc/sys", setting[1].replace(".", "/")).write_text(setting[2])
        return []
    done = subprocess.run(
        ["sh", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    failed = [*done.stdout.splitlines(), f"exit status {done.returncode}"]
    return failed if done.returncode else []


def wanted_files() -> list[str]:
    """Return the paths of _FILES that are here; of modules, those that have to do with NAT."""
    found = [path for pattern in _FILES for path in glob.glob(pattern, recursive=True)]
    return [p for p in found if not p.startswith("/sys/module/") or _MODULE.match(p)]


def read_files(paths: list[str]) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield text and mode of each file that can be read, by its path without the first slash."""
    for path in sorted(paths):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if os.path.isfile(path):
                mode = os.stat(path).st_mode & 0o7777
                with open(path, newline="") as file:
                    yield path[1:], (file.read(_MOST), mode)


def _scrape(tap: Tap) -> list[str]:
    """Let the exporter look twice; return the files of the kernel that it opened."""
    opened: set[str] = set()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(("/proc/", "/sys/")):
            opened.add(str(arguments[0]))

    sys.addaudithook(hook)
    gatherer = Gatherer(Host(tap.system))
    for _ in range(2):
        gatherer.gather(list(collectors.load().values()))
    gatherer.close()
    return [p for p in opened if not any(fnmatch.fnmatch(p, each) for each in _LEFT_OUT)]


def _listed() -> str:
    done = subprocess.run(
        ["nft", "list", "ruleset"], stdout=subprocess.PIPE, text=True, check=False
    )
    return done.stdout


def main(job: str, prefix: str) -> int:
    sys.stdout.write(packed(record(json.loads(Path(job).read_text()), prefix)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
