"""Facts about forwarding: the interfaces, their switches, and the counters of IP."""

from __future__ import annotations

from collections.abc import Mapping

from netfilter_exporter.facts.snapshot import Snapshot, fact
from netfilter_exporter.kernel import forwarding, ipvs, snmp
from netfilter_exporter.kernel.errors import NoData
from netfilter_exporter.kernel.netlink.messages import NETLINK_ROUTE
from netfilter_exporter.rules.families import Family


@fact
def interfaces(snapshot: Snapshot) -> Mapping[str, int]:
    """The index of each interface of this namespace, by name."""
    return snapshot.system.interfaces()


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
