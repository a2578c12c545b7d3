"""Address families, hooks and backends, in the product's words and the kernel's numbers."""

from __future__ import annotations

import enum
import socket


class Family(enum.Enum):
    """An address family; the value is the word of the `family` label."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"

    __hash__ = object.__hash__  # members are singletons; Enum's own hash is ten times slower

    @property
    def nfproto(self) -> int:
        """NFPROTO_IPV4 or NFPROTO_IPV6 (include/uapi/linux/netfilter.h), equal to AF_*."""
        return int(socket.AF_INET if self is Family.IPV4 else socket.AF_INET6)


NFPROTO_UNSPEC = 0
NFPROTO_INET = 1
NFPROTO_IPV4 = 2
NFPROTO_IPV6 = 10

TCP, UDP = 6, 17  #: IPPROTO_* (include/uapi/linux/in.h)

#: ETH_P_IP and ETH_P_IPV6 (include/uapi/linux/if_ether.h).
ETHERTYPES = {Family.IPV4: 0x0800, Family.IPV6: 0x86DD}

IPV4 = frozenset({Family.IPV4})
IPV6 = frozenset({Family.IPV6})
BOTH = frozenset(Family)

#: The address families that a table of an nfproto sees; netdev, bridge and arp see none.
FAMILIES_OF = {NFPROTO_INET: BOTH, NFPROTO_IPV4: IPV4, NFPROTO_IPV6: IPV6}
#: The nfproto of a table that sees them.
NFPROTO_OF = {families: nfproto for nfproto, families in FAMILIES_OF.items()}


class Hook(enum.IntEnum):
    """NF_INET_* (include/uapi/linux/netfilter.h); the lower-case name is the `hook` label."""

    PREROUTING = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3
    POSTROUTING = 4

    @property
    def label(self) -> str:
        return self.name.lower()


HOOKS = {hook.value: hook for hook in Hook}


class Backend(enum.Enum):
    """Who holds a ruleset; iptables-nft writes nftables. The value is the `backend` label."""

    NFTABLES = "nftables"
    LEGACY = "legacy"
