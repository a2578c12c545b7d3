"""Everything through which the exporter touches the machine, so that a test can stand in for it."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Mapping
from typing import Callable, Protocol

from netfilter_exporter.kernel import netlink
from netfilter_exporter.kernel.families import Family
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.loopback import LoopbackPair
from netfilter_exporter.kernel.xtables_socket import XtablesSocket


def read_interfaces() -> Mapping[str, int]:
    """Return the index of each interface of this namespace, by name."""
    return {name: index for index, name in socket.if_nameindex()}


def read_processes() -> frozenset[str]:
    """Return the names of the processes that can be seen."""
    import psutil  # noqa: PLC0415 - a tenth of the start, and only `check` asks

    return frozenset(process.info["name"] for process in psutil.process_iter(["name"]))


class Xtables(Protocol):
    """The getsockopt interface of legacy tables, for one family."""

    def get(self, option: int, request: bytes, size: int) -> memoryview: ...

    def close(self) -> None: ...


class Loopback(Protocol):
    """Two UDP sockets on loopback that are connected to each other."""

    ports: tuple[int, int]

    def send(self) -> None: ...

    def delivered(self) -> bool: ...

    def close(self) -> None: ...


@dataclasses.dataclass(frozen=True)
class System:
    """The running kernel, or a double of it."""

    paths: Paths = dataclasses.field(default_factory=Paths)
    netlink: Callable[[int], netlink.Transport] = netlink.NetlinkSocket
    xtables: Callable[[Family], Xtables] = XtablesSocket
    loopback: Callable[[Family], Loopback] = LoopbackPair
    interfaces: Callable[[], Mapping[str, int]] = read_interfaces
    processes: Callable[[], frozenset[str]] = read_processes
    clock: Callable[[], float] = time.monotonic
