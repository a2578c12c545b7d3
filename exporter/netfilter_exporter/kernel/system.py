"""Everything through which the exporter touches the machine, so that a test can stand in for it."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from collections.abc import Mapping
from typing import Callable

from netfilter_exporter.kernel import names
from netfilter_exporter.kernel.conntrack.loopback import Loopback, LoopbackPair
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.transport import NetlinkSocket, Transport
from netfilter_exporter.kernel.xtables.transport import Xtables, XtablesSocket
from netfilter_exporter.rules.families import Family


def read_interfaces() -> Mapping[str, int]:
    """Return the index of each interface of this namespace, by name."""
    # Python decodes them by the locale, which need not be UTF-8.
    return {names.decode(os.fsencode(name)): index for index, name in socket.if_nameindex()}


def read_processes(procfs: str) -> frozenset[str]:
    """Return the names of the processes in a procfs, as far as they can be seen."""
    import psutil  # noqa: PLC0415 - a tenth of the start, and only `check` asks

    psutil.PROCFS_PATH = procfs  # else a container's own processes
    return frozenset(process.info["name"] for process in psutil.process_iter(["name"]))


@dataclasses.dataclass(frozen=True)
class System:
    """The running kernel, or a double of it."""

    paths: Paths = dataclasses.field(default_factory=Paths)
    netlink: Callable[[int], Transport] = NetlinkSocket
    listen: Callable[[int, int], Transport] = NetlinkSocket  #: protocol and group
    xtables: Callable[[Family], Xtables] = XtablesSocket
    loopback: Callable[[Family], Loopback] = LoopbackPair
    interfaces: Callable[[], Mapping[str, int]] = read_interfaces
    processes: Callable[[str], frozenset[str]] = read_processes
    clock: Callable[[], float] = time.monotonic

    def connect(self, protocol: int, seconds: float) -> Connection:
        """Return a netlink connection whose requests end within so many seconds; close it.

        Opening NETLINK_NETFILTER loads nfnetlink where that is a module: pass a gate first.
        """
        return Connection(self.netlink(protocol), self.clock() + seconds, self.clock)
