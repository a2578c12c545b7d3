"""Ports of translated addresses, as a process inside a network namespace sees them."""

from __future__ import annotations

import functools
import socket
import struct
import types
from unittest import mock

from netfilter_exporter.facts.flows import flow_sampler
from netfilter_exporter.flows import ports, sampler
from support import inside, made_flows
from support.page import Page

Series = dict[tuple[str, ...], float]

BUDGET = ports._BUDGET


def look() -> tuple[Series, Series]:
    """Read the rules and sample the flow table; return used ratios and ranges."""
    inside.scrape(["nat"])
    flow_sampler(inside.host()).look()
    page = Page(inside.scrape(["flows"]))
    return _series(page, "snat_ports_used_ratio"), _series(page, "snat_ports_range")


def observe(at: float, part: float) -> tuple[Series, float]:
    """Return used ratios, and how many new connections the kernel has dropped, of one page.

    The look is taken at a time of the test, and with that part of the budget for counting.
    """
    inside.scrape(["nat"])
    clock = types.SimpleNamespace(monotonic=lambda: at)
    with (
        mock.patch.object(sampler, "time", clock),
        mock.patch.object(ports, "_BUDGET", BUDGET * part),
    ):
        flow_sampler(inside.host()).look()
    page = Page(inside.scrape(["conntrack", "flows"]))
    dropped = ("conntrack_insert_failed_total", "conntrack_dropped_total")
    failed = sum(sample.value for name in dropped for sample in page.samples(name))
    return _series(page, "snat_ports_used_ratio"), failed


def _series(page: Page, name: str) -> Series:
    labels = ("family", "protocol", "address")
    return {tuple(s.labels[label] for label in labels): s.value for s in page.samples(name)}


@functools.cache
def _sender(family: int) -> socket.socket:
    return socket.socket(family, socket.SOCK_DGRAM)


def open_towards_many(address: str, first: int, number: int) -> None:
    """Send one datagram to each of so many ports of a host: each begins a flow."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for port in range(first, first + number):
        _sender(family).sendto(b"x", (address, port))


def fill(address: str, port: int, translated: str, numbers: range) -> None:
    """Make a flow to a destination from each of these ports of a translated address."""
    destination = socket.inet_aton(address), struct.pack(">H", port)
    made_flows.make(
        made_flows.udp(
            (struct.pack(">I", 0x0A000000 | number), b"\x04\0"),
            destination,
            (socket.inet_aton(translated), struct.pack(">H", number)),
        )
        for number in numbers
    )
