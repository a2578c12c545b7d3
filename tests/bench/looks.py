"""What looks at the flow table cost, and how true their births are; one JSON object.

    python tests/bench/looks.py COUNT WINDOWS
    python tests/bench/looks.py chosen COUNT
    python tests/bench/looks.py serve COUNT

Run inside a namespace that may hold all of it. COUNT flows are made, then WINDOWS times births. The
second form takes looks as the exporter does, which chooses the source; the third takes one for each
line that it reads.
"""

from __future__ import annotations

import functools
import json
import math
import os
import statistics
import sys
import time
from pathlib import Path

import flows

from netfilter_exporter.flows.look import Looker
from netfilter_exporter.flows.networks import Networks
from netfilter_exporter.flows.observer import Observer, Settings
from netfilter_exporter.flows.ports import PortWatch
from netfilter_exporter.flows.scope import Routes
from netfilter_exporter.kernel.conntrack import flow_table
from netfilter_exporter.kernel.conntrack.flow import Reading, Towards
from netfilter_exporter.kernel.conntrack.port_count import (
    Range,
    count_listed_ports,
    count_ports,
)
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER
from netfilter_exporter.kernel.netlink.transport import NetlinkSocket

COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
LOOKS = 15
#: Of a whole table, which are new in one window, while as many end: nf_conntrack_udp_timeout_stream
#: is 120 s, eight windows.
BIRTHS = 1 / 8


class Timed(NetlinkSocket):
    """A netlink socket that remembers its longest receive."""

    longest = 0.0

    def receive(self, timeout: float) -> memoryview:
        began = time.thread_time()
        datagram = super().receive(timeout)
        Timed.longest = max(Timed.longest, time.thread_time() - began)
        return datagram


def reading(origin: str) -> Reading:
    if origin == "ctnetlink":
        connection = Connection(Timed(NETLINK_NETFILTER), time.monotonic() + 30)
        return flow_table.read_ctnetlink(connection, flow_table.SAMPLE_SIZE)
    return flow_table.read_procfs(Paths(), flow_table.SAMPLE_SIZE)


def look(observer: Observer, origin: str) -> tuple[float, float, int]:
    """Take a look; return its CPU, the births that it estimates, and how many entries it saw."""
    entries = int(COUNT.read_text())
    began = time.thread_time()
    found = observer.observe(
        reading(origin), max(entries, 1), Routes(lambda _: None), time.monotonic()
    )
    cost = time.thread_time() - began
    return cost, sum(found.births.values()) + sum(found.waiting.values()), found.entries


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def chosen(count: int) -> int:
    """Take looks as the exporter does, births included."""
    flows.main(["", str(count)])
    looks = Looks()
    before = resident()
    costs = [looks.take() for _ in range(LOOKS)]
    found = {
        "CPU median": statistics.median(costs) * 1000,
        "CPU most": max(costs) * 1000,
        "longest receive": Timed.longest * 1000,
        "resident": (resident() - before) / 1e6,
        "share": statistics.median(costs) / Settings().interval * 100,
    }
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def serve(count: int) -> int:
    """Take a look for each line of the standard input, and say so when it is done."""
    flows.main(["", str(count)])
    looks = Looks()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        looks.take()
        sys.stdout.write("taken\n")
        sys.stdout.flush()
    return 0


class Looks:
    """Looks as the exporter takes them: of its choice of source, with ports, beside the last."""

    def __init__(self) -> None:
        self._looker = Looker(Paths(), self._connection)
        self._observer = Observer(Networks())
        listed = functools.partial(count_listed_ports, Paths())
        self._ports = PortWatch(lambda _: (1024, 65535), self._count, listed)

    @staticmethod
    def _connection() -> Connection:
        return Connection(Timed(NETLINK_NETFILTER), time.monotonic() + 30)

    def take(self) -> float:
        """Take one, and return the seconds of CPU that it took."""
        began = time.thread_time()
        found = self._looker.look(flow_table.SAMPLE_SIZE)
        now = time.monotonic()
        self._observer.observe(found.reading, found.entries, Routes(lambda _: None), now)
        self._ports.take(found, now)
        return time.thread_time() - began

    @classmethod
    def _count(cls, towards: Towards, ports: Range) -> int:
        return count_ports(cls._connection(), towards, ports)


def born(count: int, windows: int) -> tuple[list[float], int]:
    """Let flows begin and end in so many windows; return errors, and how many are within bounds."""
    observer = Observer(Networks())
    number = int(count * BIRTHS)
    _, before, _ = look(observer, "ctnetlink")
    errors: list[float] = []
    inside = 0
    for first in range(0, windows * number, number):
        flows.make(count + first, count + first + number)
        flows.stop(first, first + number)
        _, after, seen = look(observer, "ctnetlink")
        errors.append((after - before - number) / number)
        inside += abs(errors[-1]) <= 2 / math.sqrt(seen * number / count)
        before = after
    return errors, inside


def main(argv: list[str]) -> int:
    if argv[1] in ("chosen", "serve"):
        return {"chosen": chosen, "serve": serve}[argv[1]](int(argv[2]))
    count, windows = int(argv[1]), int(argv[2])
    flows.main(["", str(count)])
    found: dict[str, object] = {"flows": count}
    before = resident()
    for origin in ("ctnetlink", "procfs"):
        observer = Observer(Networks())
        costs = [look(observer, origin)[0] for _ in range(LOOKS)]
        found[f"{origin} CPU median"] = statistics.median(costs) * 1000
        found[f"{origin} CPU most"] = max(costs) * 1000
    found["longest receive"] = Timed.longest * 1000
    found["resident"] = (resident() - before) / 1e6
    if windows:
        errors, inside = born(count, windows)
        found["births mean error"] = statistics.mean(errors)
        found["births within 2/sqrt(n)"] = inside / windows
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
