"""Facts about the interfaces by which forwarded packets leave for the internet.

The routing table is never dumped: a default route may not be the one that is used (OpenVPN's
redirect-gateway def1 covers it by two halves). The kernel is asked how it routes packets that
come from the private network of a forwarding interface, to an address in each half.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from netfilter_exporter.facts.forwarding import (
    forwarding_interfaces,
    interfaces,
    interfaces_by_index,
)
from netfilter_exporter.facts.networks import IPV6_ANYWHERE
from netfilter_exporter.facts.snapshot import Host, Snapshot, kept
from netfilter_exporter.flows.networks import PRIVATE_PREFIXES, SPECIAL_PREFIXES
from netfilter_exporter.kernel import addresses, files, route
from netfilter_exporter.kernel.addresses import packed
from netfilter_exporter.kernel.netlink.messages import NETLINK_ROUTE
from netfilter_exporter.rules.families import Family

#: Global addresses, one in each half of the space. Nothing is sent to them.
_ANYWHERE = {
    Family.IPV4: (bytes((20, 0, 0, 1)), bytes((200, 0, 0, 1))),
    Family.IPV6: IPV6_ANYWHERE,
}
#: Private networks whose routes are read, and global ones to which, of a family.
_MOST = 8
#: Interfaces that are read, one by one.
_MOST_INTERFACES = 32
#: Seconds after which the networks are read again.
_AGE = 60.0


class Behind(NamedTuple):
    """A private network behind this host: an address in it, and the interface towards it."""

    family: Family
    source: bytes  #: in the middle of it: seldom this host's own
    interface: int


class _Known:
    """The networks as they were read."""

    read_at = 0.0
    interfaces: Mapping[str, int] | None = None
    networks: tuple[Behind, ...] = ()
    neighbors: tuple[tuple[Family, bytes], ...] = ()  #: an address in each global network


@kept
def _known(_: Host) -> _Known:
    return _Known()


def egresses(
    snapshot: Snapshot, families: Collection[Family]
) -> tuple[tuple[Family, tuple[str, ...]], ...]:
    """Return the ways out: for each route that packets take, the interfaces of its next hops."""
    return tuple(dict.fromkeys((way.family, way.out) for way in ways_out(snapshot, families)))


class Way(NamedTuple):
    """How packets of a private network behind this host leave for the internet."""

    family: Family
    arriving: str  #: the interface towards that network
    out: tuple[str, ...]  #: those of the next hops
    source: int  #: an address in that network, as a number
    destination: bytes


def ways_out(snapshot: Snapshot, families: Collection[Family]) -> Iterator[Way]:
    """Yield the ways of packets of each private network; several may be the same."""
    return _ways(snapshot, families, _ANYWHERE)


def ways_to_neighbors(snapshot: Snapshot, families: Collection[Family]) -> Iterator[Way]:
    """Yield the ways to each global network that an interface is in: a router may have no other."""
    destinations: dict[Family, list[bytes]] = {family: [] for family in Family}
    for family, address in _read_again(snapshot).neighbors:
        destinations[family].append(address)
    return _ways(snapshot, families, destinations)


def _ways(
    snapshot: Snapshot,
    families: Collection[Family],
    destinations: Mapping[Family, Collection[bytes]],
    marks: Mapping[Family, Collection[int]] | None = None,
) -> Iterator[Way]:
    """Yield the ways of packets with each of these marks; without `marks`, of those with none."""
    names = interfaces_by_index(snapshot)
    connection = snapshot.connection(NETLINK_ROUTE)
    for family, source, arriving in _read_again(snapshot).networks:
        wanted = destinations[family] if family in families else ()
        for destination, mark in itertools.product(wanted, marks[family] if marks else (0,)):
            ways = route.ways_out(connection, destination, source, arriving, mark)
            known = all(index in names for index in (arriving, *ways))
            if ways and arriving not in ways and known:
                out = tuple(names[index] for index in ways)
                number = int.from_bytes(source, "big")
                yield Way(family, names[arriving], out, number, destination)


def marked_egresses(snapshot: Snapshot, families: Collection[Family]) -> set[tuple[Family, str]]:
    """Return the interfaces by which packets leave that have a mark for which `ip rule` has a rule.

    Whether a packet gets it is unknown. Raises `ReadError`.
    """
    connection = snapshot.connection(NETLINK_ROUTE)
    marks = {family: route.read_marks(connection, family)[:_MOST] for family in Family}
    ways = _ways(snapshot, families, _ANYWHERE, marks)
    return {(way.family, name) for way in ways for name in way.out}


class Lost(NamedTuple):
    """A way of which no reply comes back."""

    way: Way
    uplink: str


def lost_replies(snapshot: Snapshot, families: Collection[Family]) -> Iterator[Lost]:
    """Yield the ways out by one interface that has no way back to a network behind this host.

    This host itself reaches that network where its packets come from. What arrives at the uplink
    does not: it is not forwarded there, or a rule or route refuses it or sends it back.
    Raises `ReadError`.
    """
    connection, numbers = snapshot.connection(NETLINK_ROUTE), interfaces(snapshot)
    for way in ways_out(snapshot, families):
        uplink, client = way.out[0], packed(way.family, way.source)
        direct = route.ask(connection, client)
        if len(way.out) > 1 or _has_master(snapshot, uplink) or direct is None:
            continue
        if direct.interface == numbers[way.arriving]:
            back = route.ways_out(connection, client, way.destination, numbers[uplink])
            if set(back) <= {numbers[uplink]}:
                yield Lost(way, uplink)


def uplinks(snapshot: Snapshot) -> tuple[tuple[Family, str], ...]:
    """Return the interfaces that lead to more than a private network: rules there are for all.

    A balancer or a VPN's gateway has rules for the others. None where there are too many to ask.
    """
    present = {name: index for name, index in interfaces(snapshot).items() if name != "lo"}
    if len(present) > _MOST_INTERFACES:
        return ()
    connection = snapshot.connection(NETLINK_ROUTE)
    towards = {(each.family, each.interface) for each in _read_again(snapshot).networks}
    return tuple(
        (family, name)
        for family in Family
        for name, index in present.items()
        if (family, index) not in towards or route.leads(connection, _ANYWHERE[family][0], index)
    )


def _read_again(snapshot: Snapshot) -> _Known:
    """Return the networks, at most some seconds old."""
    known = _known(snapshot.host)
    now = snapshot.system.clock()
    current = interfaces(snapshot)
    if known.interfaces != current or now - known.read_at >= _AGE:
        known.interfaces, known.read_at = current, now
        found = [(family, *_read(snapshot, family)) for family in Family]
        known.networks = tuple(each for _, networks, _ in found for each in networks)
        known.neighbors = tuple((f, address) for f, _, others in found for address in others)
    return known


def _read(snapshot: Snapshot, family: Family) -> tuple[list[Behind], list[bytes]]:
    """Return the private networks of interfaces that forward, and an address in each global one."""
    private: list[Behind] = []
    others: list[bytes] = []
    indices = _forwarding(snapshot, family)
    if not indices:
        return private, others
    for each in addresses.read_networks(snapshot.connection(NETLINK_ROUTE), family):
        address = packed(family, (each.first + each.last + 1) // 2)
        several = each.last - each.first >= 3  # more than the two ends of a link
        if address not in PRIVATE_PREFIXES:
            if address not in SPECIAL_PREFIXES and each.last != each.first:
                others.append(address)
        elif several and each.interface in indices:
            private.append(Behind(family, address, each.interface))
    return private[:_MOST], others[:_MOST]


def _forwarding(snapshot: Snapshot, family: Family) -> frozenset[int]:
    """Return the interfaces that forward, but for those of a VRF: its routes are apart."""
    present = interfaces(snapshot)
    return frozenset(
        present[name]
        for name in forwarding_interfaces(snapshot, family)
        if not _has_master(snapshot, name)
    )


def _has_master(snapshot: Snapshot, name: str) -> bool:
    return files.exists(snapshot.paths.sys(f"class/net/{name}/master"))
