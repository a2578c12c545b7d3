"""IPVS, which translates without a NAT rule: whether it has services that do.

Source: /proc/net/ip_vs, ip_vs_info_seq_show in net/netfilter/ipvs/ip_vs_ctl.c (v6.18).
"""

from __future__ import annotations

from netfilter_exporter.kernel import files
from netfilter_exporter.kernel.errors import NoData
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.rules.families import Family

#: Bytes that are read: a balancer has thousands of servers, and the first ones answer the question.
_HEAD = 1 << 16

_MASQUERADE = b"Masq"  # ip_vs_fwd_name: others are Local, Route and Tunnel


def read_families(paths: Paths) -> frozenset[Family]:
    """Return the families of which a server gets translated packets; none without IPVS."""
    try:
        return parse_families(files.read_head(paths.proc("net/ip_vs"), _HEAD))
    except NoData:
        return frozenset()


def parse_families(content: bytes) -> frozenset[Family]:
    """Parse the lines of servers: ``-> ADDRESS:PORT FORWARD WEIGHT ...``."""
    found: set[Family] = set()
    for line in content.splitlines():
        words = line.split()
        if len(words) > 2 and words[0] == b"->" and words[2] == _MASQUERADE:
            found.add(Family.IPV6 if words[1].startswith(b"[") else Family.IPV4)
    return frozenset(found)
