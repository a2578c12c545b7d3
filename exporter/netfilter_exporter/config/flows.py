"""The section `flows` of the configuration: the sample of the flow table, and what is outbound."""

from __future__ import annotations

import dataclasses
import ipaddress
import re

import yaml

from netfilter_exporter.config.yaml_reader import (
    Place,
    Reader,
    fields,
    list_of,
    scalar,
    whole_number,
)
from netfilter_exporter.flows.networks import Network, Networks

#: Seconds: below, births are seen before they can be answered; above, short flows are missed.
INTERVAL = range(1, 301)
#: Bytes: what holds fewer than 30 entries proves nothing, and more delays packets.
SAMPLE_SIZE = range(16 << 10, (512 << 10) + 1)
#: Thousandths of one CPU.
CPU_PERMILLE = range(1, 1001)


@dataclasses.dataclass(frozen=True)
class Flows:
    """How the flow table is sampled; None leaves the default."""

    interval: int | None = None  #: seconds
    sample_size: int | None = None  #: bytes
    cpu_permille: int | None = None  #: thousandths of one CPU
    networks: Networks = dataclasses.field(default_factory=Networks)


def read_flows(node: yaml.Node, place: Place) -> Flows:
    """Read the section; networks that are both private and global are an error."""
    values = fields(node, place, _FLOWS)
    ends = values.get("outbound", {})
    if ends and len(ends) != len(_OUTBOUND):
        allowed = "both from and to, each a list of networks"
        raise place.below("outbound").error(node, "one end is missing", allowed)
    networks = Networks(
        values.get("private", ()),
        values.get("global", ()),
        ends.get("from", ()),
        ends.get("to", ()),
    )
    for one, other in networks.overlaps():
        problem = f"{one} is private and {other} is global, and they overlap"
        raise place.error(node, problem, "networks that are one of both")
    numbers = {key: values.get(key) for key in ("interval", "sample_size", "cpu_permille")}
    return Flows(**numbers, networks=networks)


#: Octal in some programs, decimal in others; Python itself refuses it in addresses since 3.9.5.
_LEADING_ZERO = re.compile(r"(^|[./])0[0-9]")


def _network(node: yaml.Node, place: Place) -> Network:
    allowed = "a network such as 10.0.0.0/8, with no bits set behind its length"
    text = scalar(node, place, allowed)
    if _LEADING_ZERO.search(text):
        raise place.error(node, f"{text[:40]!r} looks octal", "numbers without leading zeros")
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise place.error(node, f"{text[:40]!r} is not a network", allowed) from None


def _outbound(node: yaml.Node, place: Place) -> dict[str, tuple[Network, ...]]:
    return fields(node, place, _OUTBOUND)


_NETWORKS = list_of(_network)
_OUTBOUND: dict[str, Reader] = {"from": _NETWORKS, "to": _NETWORKS}
_FLOWS: dict[str, Reader] = {
    "interval": whole_number(INTERVAL),
    "sample_size": whole_number(SAMPLE_SIZE),
    "cpu_permille": whole_number(CPU_PERMILLE),
    "private": _NETWORKS,
    "global": _NETWORKS,
    "outbound": _outbound,
}
