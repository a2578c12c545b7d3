"""Bridges, and whether what they forward between their ports meets the rules of IP.

Source: br_nf_pre_routing in net/bridge/br_netfilter_hooks.c and net/bridge/br_sysfs_br.c (v6.18).
The bridge layer hands a packet to the IPv4 hooks where bridge-nf-call-iptables or the bridge's own
nf_call_iptables is 1, and only while br_netfilter is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.errors import NoData
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.rules.families import Family

#: Of all bridges, and of one.
SYSCTLS = {
    Family.IPV4: "net/bridge/bridge-nf-call-iptables",
    Family.IPV6: "net/bridge/bridge-nf-call-ip6tables",
}
_OWN = {Family.IPV4: "nf_call_iptables", Family.IPV6: "nf_call_ip6tables"}


class Bridge(NamedTuple):
    """A bridge that forwards between ports."""

    name: str
    calls: frozenset[Family]  #: those whose hooks its own switch enables


def is_bridge(paths: Paths, interface: str) -> bool:
    """Return whether an interface is a bridge; that never changes."""
    return files.exists(paths.sys(f"class/net/{interface}/bridge"))


def read_bridges(paths: Paths, names: Iterable[str]) -> tuple[Bridge, ...]:
    """Return those of the bridges `names` that have two ports or more."""
    return tuple(
        Bridge(name, frozenset(family for family in Family if _calls(paths, name, family)))
        for name in names
        if _ports(paths, name) > 1
    )


def _ports(paths: Paths, name: str) -> int:
    try:
        return len(files.listing(paths.sys(f"class/net/{name}/brif")))
    except NoData:
        return 0  # the bridge has just gone


def _calls(paths: Paths, name: str, family: Family) -> bool:
    """Return whether the bridge's own switch is enabled; absent without br_netfilter."""
    try:
        return files.read_int(paths.sys(f"class/net/{name}/bridge/{_OWN[family]}")) == 1
    except NoData:
        return False
