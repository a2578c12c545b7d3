"""Facts about forwarding: the interfaces, their switches, and the counters of IP."""

from __future__ import annotations

from collections.abc import Mapping

from netfilter_exporter.facts.networks import IPV6_ANYWHERE
from netfilter_exporter.facts.snapshot import Host, Snapshot, fact, kept
from netfilter_exporter.kernel import addresses, forwarding, ipvs, route, snmp
from netfilter_exporter.kernel.errors import NoData
from netfilter_exporter.kernel.netlink.messages import NETLINK_ROUTE
from netfilter_exporter.kernel.ports import is_bridge_port
from netfilter_exporter.rules.families import Family


@fact
def interfaces(snapshot: Snapshot) -> Mapping[str, int]:
    """The index of each interface of this namespace, by name."""
    return snapshot.system.interfaces()


@fact
def interfaces_by_index(snapshot: Snapshot) -> Mapping[int, str]:
    """The name of each interface of this namespace, by index."""
    return {index: name for name, index in interfaces(snapshot).items()}


@fact
def ipv4_counters(snapshot: Snapshot) -> Mapping[str, int]:
    """The IPv4 counters of /proc/net/snmp and /proc/net/netstat, by our names."""
    return snmp.read_ipv4(snapshot.paths)


@fact
def ipv6_counters(snapshot: Snapshot) -> Mapping[str, int]:
    """The IPv6 counters of /proc/net/snmp6, by our names; none without IPv6."""
    try:
        return snmp.read_ipv6(snapshot.paths)
    except NoData:
        return {}


@fact
def ipv4_forwarding(snapshot: Snapshot) -> Mapping[str, bool]:
    """Whether each interface but lo forwards the IPv4 packets that it receives."""
    return {name: each.forwarding for name, each in _ipv4_switches(snapshot).items()}


@fact
def closed_interfaces(snapshot: Snapshot) -> tuple[str, ...]:
    """The interfaces, but lo and bridge ports, that do not forward the IPv4 that they receive."""
    off = (name for name, forwards in ipv4_forwarding(snapshot).items() if not forwards)
    return tuple(sorted(name for name in off if not is_bridge_port(snapshot.paths, name)))


@fact
def ipv6_forwarding(snapshot: Snapshot) -> bool:
    """Whether IPv6 is forwarded."""
    return forwarding.read_ipv6(snapshot.paths)


def forwards(snapshot: Snapshot, family: Family) -> bool:
    """Return whether an interface other than lo forwards."""
    if family is Family.IPV4:
        return any(ipv4_forwarding(snapshot).values())
    return ipv6_forwarding(snapshot)


def forwarding_interfaces(snapshot: Snapshot, family: Family) -> list[str]:
    """Return the interfaces other than lo that forward what they receive."""
    if family is Family.IPV4:
        return [name for name, enabled in ipv4_forwarding(snapshot).items() if enabled]
    if not ipv6_forwarding(snapshot):
        return []
    return [name for name in interfaces(snapshot) if name != "lo"]


@fact
def strict_interfaces(snapshot: Snapshot) -> tuple[str, ...]:
    """The interfaces of which rp_filter is strict."""
    switches = _ipv4_switches(snapshot).items()
    return tuple(name for name, each in switches if each.rp_filter == forwarding.STRICT)


@fact
def _ipv4_switches(snapshot: Snapshot) -> Mapping[str, forwarding.InterfaceForwarding]:
    """The IPv4 switches of each interface but lo."""
    found = forwarding.read_interfaces(snapshot.connection(NETLINK_ROUTE), Family.IPV4)
    return {
        name: found[index]
        for name, index in interfaces(snapshot).items()
        if index in found and name != "lo"
    }


@fact
def ipvs_nat(snapshot: Snapshot) -> frozenset[Family]:
    """The families that IPVS translates, which needs no rule."""
    return ipvs.read_families(snapshot.paths)


@kept
def _advertised(_: Host) -> set[str]:
    """The interfaces that had a default route by advertisement while they ignored these."""
    return set()


@fact
def ignored_advertisements(snapshot: Snapshot) -> tuple[str, ...]:
    """The interfaces whose default route expires, or has expired, as advertisements are ignored.

    An interface is one of them until it accepts advertisements, or forwards no more.
    """
    known = _advertised(snapshot.host)
    if not ipv6_forwarding(snapshot):
        known.clear()
        return ()
    connection = snapshot.connection(NETLINK_ROUTE)
    names = interfaces_by_index(snapshot)
    for address in IPV6_ANYWHERE:
        found = route.ask(connection, address)
        if found and found.advertised and found.interface in names:
            known.add(names[found.interface])
    known.intersection_update(names.values())
    ignoring = (n for n in known if forwarding.ignores_advertisements(snapshot.paths, n))
    known.intersection_update(tuple(ignoring))
    return tuple(sorted(known))


@fact
def own_addresses(snapshot: Snapshot) -> Mapping[Family, frozenset[int]]:
    """The addresses of this host, by family; those of a family that the kernel lacks are none."""
    connection = snapshot.connection(NETLINK_ROUTE)
    return {family: addresses.read_addresses(connection, family) for family in Family}
