"""The networks that this host is in."""

from __future__ import annotations

from netfilter_exporter.flows.networks import SPECIAL_PREFIXES
from netfilter_exporter.kernel.addresses import Network, packed, read_networks
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.rules.families import Family

#: Global addresses of two regions: a default route leads to both. Nothing is sent to them.
IPV6_ANYWHERE = (bytes.fromhex("2600" + 27 * "0" + "1"), bytes.fromhex("2a00" + 27 * "0" + "1"))


def interface_networks(connection: Connection, family: Family) -> list[Network]:
    """Return the network of each address of an interface, but for loopback and link-local ones."""
    found = read_networks(connection, family)
    return [each for each in found if packed(family, each.first) not in SPECIAL_PREFIXES]
