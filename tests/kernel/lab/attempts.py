"""Tries what the sandbox of the unit forbids, and prints the error that each attempt meets.

    python -m lab.attempts

It is started by systemd in place of the exporter, with all settings of its unit.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_MS_REMOUNT, _MS_BIND = 32, 4096
_DONE = "done"


def _write(name: str) -> None:
    Path(name).write_text(Path(name).read_text() if Path(name).exists() else "x")


def _call(name: str, *arguments: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


def _executable() -> None:
    everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    mmap.mmap(-1, mmap.PAGESIZE, prot=everything).close()


ATTEMPTS: dict[str, Callable[[], object]] = {
    "sysctl of the network": lambda: _write("/proc/sys/net/ipv4/ip_forward"),
    "sysctl of netfilter": lambda: _write("/proc/sys/net/netfilter/nf_conntrack_acct"),
    "sysfs": lambda: _write("/sys/class/net/lo/mtu"),
    "hash size": lambda: _write("/sys/module/nf_conntrack/parameters/hashsize"),
    "configuration": lambda: _write("/etc/default/netfilter_exporter"),
    "program": lambda: _write("/usr/local/bin/netfilter_exporter"),
    "state": lambda: _write("/var/lib/x"),
    "what runs": lambda: _write("/run/x"),
    "locks": lambda: _write("/run/lock/x"),
    "shared memory": lambda: _write("/dev/shm/x"),
    "home": lambda: Path("/root/secret").read_text(),
    "kernel messages": lambda: Path("/dev/kmsg").read_bytes(),
    "other processes": lambda: Path("/proc/1/status").read_text(),
    "signal": lambda: os.kill(1, signal.SIGCONT),
    "unix socket": lambda: socket.socket(socket.AF_UNIX),
    "packet socket": lambda: socket.socket(socket.AF_PACKET),
    "user namespace": lambda: _call("unshare", _CLONE_NEWUSER),
    "mount": lambda: _call("mount", 0, b"/proc/sys", 0, _MS_REMOUNT | _MS_BIND, 0),
    "module": lambda: _call("syscall", 175, 0, 0, b""),  # init_module, on x86-64
    "host name": lambda: socket.sethostname("x"),
    "clock": lambda: _call("adjtimex", bytes([1]) + bytes(255)),
    "executable memory": _executable,
    "kernel log": lambda: _call("klogctl", 3, 0, 0),
}


def outcome(attempt: Callable[[], object]) -> str:
    """Return the name of the error that an attempt meets."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return _DONE


if __name__ == "__main__":
    json.dump({name: outcome(attempt) for name, attempt in ATTEMPTS.items()}, sys.stdout)
