"""Collector forwarding: whether this host routes what it translates."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Callable

from netfilter_exporter.collectors.base import (
    Collector,
    Metric,
    Sample,
    by_label,
    each,
    one_for,
    value,
)
from netfilter_exporter.facts.bridges import bridge_netfilter, bypassing_bridges
from netfilter_exporter.facts.forwarding import (
    closed_interfaces,
    forwards,
    ignored_advertisements,
    ipv4_counters,
    ipv6_counters,
    strict_interfaces,
)
from netfilter_exporter.facts.passage import blocked_interfaces
from netfilter_exporter.facts.rulesets import readable, rulesets
from netfilter_exporter.facts.snapshot import Snapshot
from netfilter_exporter.kernel import addresses, forwarding
from netfilter_exporter.rules.families import Family

COUNTERS = {
    "forwarded": (
        "Datagrams forwarded. Since Linux 6.7 this includes those that the FORWARD hook drops.",
        "/proc/net/snmp Ip ForwDatagrams; /proc/net/snmp6 Ip6OutForwDatagrams",
    ),
    "in_address_errors": (
        "Datagrams for other hosts, dropped because forwarding is disabled.",
        "/proc/net/snmp Ip InAddrErrors; /proc/net/snmp6 Ip6InAddrErrors",
    ),
    "out_requests": (
        "Datagrams sent by this host itself. Before Linux 6.7 this includes forwarded ones.",
        "/proc/net/snmp Ip OutRequests; /proc/net/snmp6 Ip6OutRequests",
    ),
    "out_transmitted": (
        "Datagrams passed to an interface, own and forwarded. Absent before late 6.6 kernels.",
        "/proc/net/snmp Ip OutTransmits; /proc/net/snmp6 Ip6OutTransmits",
    ),
    "reverse_path_filtered": (
        "Datagrams dropped by rp_filter.",
        "/proc/net/netstat TcpExt IPReversePathFilter",
    ),
}


def _counter(name: str) -> Callable[[Snapshot], Iterable[Sample]]:
    def samples(snapshot: Snapshot) -> Iterable[Sample]:
        return each(
            (
                ((Family.IPV4.value,), lambda: ipv4_counters(snapshot).get(name)),
                ((Family.IPV6.value,), lambda: ipv6_counters(snapshot).get(name)),
            )
        )

    return samples


def _enabled(snapshot: Snapshot) -> Iterable[Sample]:
    return each(((f.value,), functools.partial(forwards, snapshot, f)) for f in Family)


def _disabled(snapshot: Snapshot) -> Iterable[str]:
    # NetworkManager's shared mode leaves ip_forward at 0 and enables single interfaces.
    if forwards(snapshot, Family.IPV4) or forwarding.read_ipv4_switch(snapshot.paths):
        return closed_interfaces(snapshot)
    return ()


def _policy_drop(snapshot: Snapshot) -> Iterable[Sample]:
    for backend, families, facts in readable(snapshot):
        for family in families:
            yield (backend.value, family.value), int(family in facts.forward_drops)


def _blocked(snapshot: Snapshot) -> Iterable[Sample]:
    found = blocked_interfaces(snapshot)
    for labels in dict.fromkeys((e.backend.value, e.family.value, e.interface) for e in found):
        yield labels, 1


COLLECTOR = Collector(
    "forwarding",
    "IP forwarding, by family and interface, and its counters",
    budget=20,
    dumps=frozenset({forwarding.RTM_GETNETCONF, addresses.RTM_GETADDR}),
    metrics=(
        Metric(
            "forwarding_enabled",
            "Whether at least one interface other than lo forwards (1) or none (0). IPv4: the"
            " setting of each interface. IPv6: conf.all.forwarding, or force_forwarding of an"
            " interface.",
            source="RTM_GETNETCONF; /proc/sys/net/ipv6/conf",
            samples=_enabled,
            labels=("family",),
        ),
        Metric(
            "interface_forwarding_disabled",
            "1 for an IPv4 interface with forwarding disabled while ip_forward is 1 or another"
            " interface forwards. Absent otherwise, and for lo and bridge ports.",
            source="RTM_GETNETCONF",
            samples=one_for(_disabled),
            labels=("interface",),
            bounded=True,
        ),
        Metric(
            "forward_policy_drop",
            "Whether at least one base chain at the forward hook has policy drop (1) or none (0).",
            source="NFT_MSG_GETCHAIN; IPT_SO_GET_ENTRIES",
            samples=_policy_drop,
            of=(rulesets,),
            labels=("backend", "family"),
        ),
        Metric(
            "forward_blocked",
            "1 for an incoming interface whose new TCP and UDP flows are all dropped by a base"
            " chain, although a rule elsewhere accepts or translates them; for one whose new flows"
            " may pass, and whose later packets, or replies from an uplink to it, are all dropped;"
            " and for an uplink whose replies"
            " all are, or those of TCP or of UDP, although new flows of that protocol may leave by"
            " it. They are dropped by policy, by a rule, or by a queue that no program reads."
            " Absent otherwise.",
            source="NFT_MSG_GETRULE; IPT_SO_GET_ENTRIES; /proc/net/netfilter/nfnetlink_queue;"
            " RTM_GETROUTE; RTM_GETADDR",
            samples=_blocked,
            labels=("backend", "family", "interface"),
            bounded=True,
        ),
        Metric(
            "bridge_netfilter",
            "Whether all bridges pass bridged packets to the rules of the family (1) or not (0)."
            " 0 if br_netfilter is not loaded.",
            source="/proc/sys/net/bridge/bridge-nf-call-iptables, bridge-nf-call-ip6tables",
            samples=by_label(bridge_netfilter),
            of=(bridge_netfilter,),
            labels=("family",),
        ),
        Metric(
            "nat_bypassing_bridges",
            "Number of bridges with two or more ports whose bridged packets never reach the rules"
            " of the family.",
            source="as bridge_netfilter; /sys/class/net/BRIDGE/bridge",
            samples=by_label(bypassing_bridges),
            labels=("family",),
        ),
        Metric(
            "router_advertisements_ignored",
            "1 for an interface whose IPv6 default route, learned from router advertisements,"
            " will expire, because the interface forwards and accept_ra is 1 instead of 2. Absent"
            " otherwise.",
            source="RTM_GETROUTE; /proc/sys/net/ipv6/conf/INTERFACE/accept_ra",
            samples=one_for(ignored_advertisements),
            labels=("interface",),
            bounded=True,
        ),
        Metric(
            "reverse_path_strict_interfaces",
            "Number of interfaces other than lo with rp_filter 1 (strict).",
            source="RTM_GETNETCONF",
            samples=value(lambda s: len(strict_interfaces(s))),
        ),
        *(
            Metric(f"ip_{name}_total", help_, source, _counter(name), labels=("family",))
            for name, (help_, source) in COUNTERS.items()
        ),
    ),
)
