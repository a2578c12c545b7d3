"""Which addresses are private, and which are global.

Source: the IANA special-purpose address registries (RFC 6890). Documentation networks count as
global: nothing on a real network uses them, and examples do.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Union

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


RFC1918 = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")

#: RFC 1918, the shared space of carriers (RFC 6598), DS-Lite (RFC 6333), ULA (RFC 4193), and
#: class E (RFC 1112) without 255.0.0.0/8, which has the broadcast address: clouds give
#: it to pods, and no host on the internet has such an address.
PRIVATE = RFC1918 + _networks(
    "100.64.0.0/10",
    "192.0.0.0/29",
    "240.0.0.0/5",
    "248.0.0.0/6",
    "252.0.0.0/7",
    "254.0.0.0/8",
    "fc00::/7",
)

#: Neither private nor global: own host, link-local, loopback, benchmarks, multicast, reserved.
SPECIAL = _networks(
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "255.0.0.0/8",
    "::/127",
    "::ffff:0:0/96",
    "fe80::/10",
    "ff00::/8",
)


class Prefixes:
    """A set of networks that answers for packed addresses; a fifth of the cost of ipaddress."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._by_size: dict[int, list[tuple[int, int]]] = {4: [], 16: []}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            prefix = int(network.network_address) >> shift, shift
            self._by_size[network.max_prefixlen // 8].append(prefix)

    def __contains__(self, address: bytes) -> bool:
        number = int.from_bytes(address, "big")
        return any(number >> shift == prefix for prefix, shift in self._by_size[len(address)])

    def __bool__(self) -> bool:
        return any(self._by_size.values())


PRIVATE_PREFIXES, SPECIAL_PREFIXES = Prefixes(PRIVATE), Prefixes(SPECIAL)


class Networks(NamedTuple):
    """The configured exceptions, and the extra traffic that counts as outbound."""

    private: tuple[Network, ...] = ()  #: private, though they look global
    global_: tuple[Network, ...] = ()  #: global, though they look private
    outbound_from: tuple[Network, ...] = ()
    outbound_to: tuple[Network, ...] = ()

    def overlaps(self) -> Iterator[tuple[Network, Network]]:
        """Yield each pair of networks that would be both private and global."""
        for one in self.private:
            for other in self.global_:
                if one.version == other.version and one.overlaps(other):
                    yield one, other
