"""NAT hits, as a process inside a network namespace counts them: see support.inside."""

from __future__ import annotations

import contextlib
import itertools
import socket
from collections.abc import Mapping

from netfilter_exporter.config.model import parse
from netfilter_exporter.facts.hits import hit_sampler, named
from netfilter_exporter.kernel.netlink.attributes import pack_name
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NETLINK_NETFILTER, nfgenmsg
from netfilter_exporter.kernel.nft.uapi import NFTA_RULE_TABLE
from netfilter_exporter.kernel.system import System
from netfilter_exporter.rules.families import NFPROTO_IPV4
from support import inside
from support.page import Page

_GETRULE_RESET = 10 << 8 | 25  # NFT_MSG_GETRULE_RESET, since v6.2

Series = dict[tuple[str, ...], float]


def look(configuration: str = "") -> dict[str, Series]:
    """Read the rules, then their counters, and return what is served of them."""
    sampler = hit_sampler(inside.host())
    sampler.name(named(parse(configuration, "hits.yml")))
    inside.scrape(["nat"])
    sampler.look()
    page = Page(inside.scrape(["nat"]))
    return {
        name: {_key(s.labels): s.value for s in page.samples(name)}
        for name in ("nat_translations_total", "nat_counted_rules", "nat_rule_translations_total")
    } | {
        "status": {
            (s.labels["status"],): s.value
            for s in page.samples("source_status")
            if s.labels["source"] == "nat_counters"
        }
    }


def _key(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the labels in the order of the metric."""
    order = ("backend", "family", "action", "name")
    return tuple(labels[label] for label in order if label in labels)


def reset_rules(table: str) -> None:
    """Zero the counters of an ip table, as `nft reset rules` does in versions that know it."""
    system = System()
    with contextlib.closing(Connection(system.netlink(NETLINK_NETFILTER), system.clock() + 9)) as c:
        request = nfgenmsg(NFPROTO_IPV4) + pack_name(NFTA_RULE_TABLE, table)
        c.dump("nftables GETRULE_RESET", _GETRULE_RESET, request, bytes)


#: An ephemeral port may be one whose flow still exists: a datagram from it begins no other.
_source_ports = itertools.count(1024)


def open_flows(address: str, port: int, number: int) -> None:
    """Send one datagram from each of so many source ports: each begins a flow."""
    for _ in range(number):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("", next(_source_ports)))
            sender.sendto(b"x", (address, port))
