"""What the names of sysctls mean: their forms, their aliases, their modules, and their history.

A key is the path below /proc/sys (``net/ipv4/conf/eth0.5/forwarding``); a name is its dotted form,
where dots and slashes change places (``net.ipv4.conf.eth0/5.forwarding``).
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

CONNTRACK = "net/netfilter/nf_conntrack_"
MAX = CONNTRACK + "max"
IP_FORWARD = "net/ipv4/ip_forward"
IPV6_FORWARDING = "net/ipv6/conf/all/forwarding"
BRIDGE = "net/bridge/"
IPVS = "net/ipv4/vs/"
IPVS_CONNTRACK = IPVS + "conntrack"

#: Served besides the nf_conntrack_* that this kernel has.
FIXED = (
    "net/nf_conntrack_max",
    IP_FORWARD,
    IPV6_FORWARDING,
    "net/ipv6/conf/default/forwarding",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/bridge/bridge-nf-call-arptables",
    IPVS_CONNTRACK,
)

#: Two keys, one variable: what is written to either is read from both.
ALIASES = {"net/nf_conntrack_max": MAX, "net/ipv4/conf/all/forwarding": IP_FORWARD}

_SCOPE = re.compile(
    r"net/(?:netfilter/nf_(?:conntrack|flowtable)_\w+"
    r"|nf_conntrack_max"
    r"|ipv4/ip_forward"
    r"|ipv[46]/conf/[^/]+/forwarding"
    r"|bridge/bridge-nf-[\w-]+"
    r"|ipv4/vs/\w+"
    r"|ipv4/(?:netfilter/)?ip_conntrack_\w+)",
    re.ASCII,
)
_FORWARDING = re.compile(r"net/ipv([46])/conf/[^/]+/forwarding")
_READ_ONLY = frozenset({CONNTRACK + "count"})
_SWAP = str.maketrans("./", "/.")

#: Protocols whose keys came, or come, with a separate module.
_PROTOCOL = re.compile(
    r"net/netfilter/nf_conntrack_(?:tcp|udp|udplite|icmp|icmpv6|generic|sctp|dccp|gre|frag6)_"
)
FRAG6 = CONNTRACK + "frag6_"
_OPTIONAL = re.compile(r"net/netfilter/nf_conntrack_(?:udplite|icmpv6|sctp|dccp|gre)_")


def to_key(name: str) -> str:
    """Return the key of a name, whose first separator decides which of the two forms it has."""
    separator = re.search(r"[./]", name)
    swapped = name.translate(_SWAP) if separator and separator.group() == "." else name
    return "/".join(part for part in swapped.split("/") if part not in {"", "."})


@functools.lru_cache(maxsize=256)
def to_name(key: str) -> str:
    """Return the dotted form of a key."""
    return key.translate(_SWAP) if "." in key else key.replace("/", ".")


class Operator(enum.Enum):
    """How a desired value is compared with the current one."""

    EQUAL = "="
    AT_LEAST = ">="
    AT_MOST = "<="

    def holds(self, key: str, actual: int, wanted: int) -> bool:
        """Compare; nf_conntrack_max 0 is no limit at all (until v6.18; later it is refused)."""
        if self is Operator.EQUAL:
            return actual == wanted
        if key == MAX:
            return self._holds(actual or float("inf"), wanted or float("inf"))
        return self._holds(actual, wanted)

    def _holds(self, actual: float, wanted: float) -> bool:
        return actual >= wanted if self is Operator.AT_LEAST else actual <= wanted


class Desired(NamedTuple):
    """A value that the host's sysctl.d or our configuration sets."""

    key: str  #: a canonical one
    source: str  #: the `source` label: sysctl.d or config
    operator: Operator
    value: int
    origin: str  #: file and line, for a person

    @property
    def name(self) -> str:
        return to_name(self.key)


class Kind(enum.Enum):
    """What became of a name."""

    LIVE = "live"
    RETIRED = "retired"
    NEVER_EXISTED = "never existed"
    VENDOR = "vendor"  #: not in the kernel that kernel.org publishes


class Watched(NamedTuple):
    """A name whose presence is always reported."""

    name: str
    kind: Kind
    explanation: str  #: one sentence for a person


_WATCHED = (
    Watched(
        "net.netfilter.nf_conntrack_max",
        Kind.LIVE,
        "The limit of entries: one value for all network namespaces, compared with the entries of"
        " each.",
    ),
    Watched(
        "net.nf_conntrack_max",
        Kind.LIVE,
        "The same variable as net.netfilter.nf_conntrack_max, in the initial network namespace"
        " only.",
    ),
    Watched(
        "net.netfilter.nf_conntrack_count",
        Kind.LIVE,
        "Entries now; that it exists proves the core, that it is above 0 proves nothing.",
    ),
    Watched(
        "net.netfilter.nf_conntrack_buckets",
        Kind.LIVE,
        "Size of the hash table; it does not follow nf_conntrack_max when that is raised.",
    ),
    Watched(
        "net.netfilter.nf_conntrack_acct",
        Kind.LIVE,
        "Counts packets and bytes of each new flow; NAT works the same without it.",
    ),
    Watched(
        "net.netfilter.nf_conntrack_helper",
        Kind.RETIRED,
        "Assigned helpers to ports by itself; gone since 6.0: helpers are assigned by rules.",
    ),
    Watched(
        "net.netfilter.nf_conntrack_tcp_timeout_established",
        Kind.LIVE,
        "Seconds that an idle TCP connection keeps its entry; before 4.19 it came with"
        " nf_conntrack_ipv4.",
    ),
    Watched(
        "net.netfilter.nf_conntrack_enable",
        Kind.VENDOR,
        "No mainline kernel ever had it: tracking is switched by the rules that need it, and off"
        " by notrack rules.",
    ),
    Watched(
        "net.netfilter.nf_conntrack_ipv4_max",
        Kind.NEVER_EXISTED,
        "No kernel ever had it: the limit is net.netfilter.nf_conntrack_max, for both families.",
    ),
    Watched(
        "net.netfilter.nf_conntrack_ipv6_max",
        Kind.NEVER_EXISTED,
        "No kernel ever had it: the limit is net.netfilter.nf_conntrack_max, for both families.",
    ),
    Watched(
        "net.netfilter.nf_conntrack_default_on",
        Kind.RETIRED,
        "Known around 4.10 only, gone by 4.14: hooks are registered when a rule needs them, or"
        " always with the module parameter enable_hooks=1.",
    ),
    Watched(
        "net.ipv4.ip_conntrack_max",
        Kind.RETIRED,
        "The name of the limit on 2.6, kept for compatibility until about 3.10, gone by 4.9: use"
        " net.netfilter.nf_conntrack_max.",
    ),
    Watched(
        "net.ipv4.netfilter.ip_conntrack_max",
        Kind.RETIRED,
        "The name of the limit on 2.6, kept for compatibility until about 3.10, gone by 4.9: use"
        " net.netfilter.nf_conntrack_max.",
    ),
    Watched(
        "net.ipv4.ip_forward",
        Kind.LIVE,
        "Forwarding of IPv4; writing it sets every interface, and each may be changed afterwards.",
    ),
    Watched(
        "net.bridge.bridge-nf-call-iptables",
        Kind.LIVE,
        "Hands bridged packets to the IPv4 hooks; there only while br_netfilter is loaded, and"
        " then 1.",
    ),
)

#: By key.
WATCHED = {to_key(watched.name): watched for watched in _WATCHED}

_NEVER_HERE = frozenset(
    key for key, watched in WATCHED.items() if watched.kind in {Kind.NEVER_EXISTED, Kind.VENDOR}
)
_COMPATIBILITY = ("net/ipv4/ip_conntrack_", "net/ipv4/netfilter/ip_conntrack_")


def canonical(key: str) -> str:
    """Return the one key that stands for a variable with two."""
    return ALIASES.get(key, key)


def spellings(key: str) -> tuple[str, ...]:
    """Return every key of the variable that `key`, a canonical one, stands for."""
    return (key, *(alias for alias, target in ALIASES.items() if target == key))


def in_scope(key: str) -> bool:
    """Return whether `key` concerns connection tracking or forwarding."""
    safe = key.isprintable() and ".." not in key.split("/")
    return safe and key not in _READ_ONLY and _SCOPE.fullmatch(key) is not None


def matchable(present: Iterable[str]) -> tuple[str, ...]:
    """Return the keys that a glob of sysctl.d may match: those in scope that are `present`."""
    keys = tuple(key for key in present if key not in _READ_ONLY)
    return (*keys, "net/ipv4/conf/all/forwarding") if IP_FORWARD in keys else keys


def operator(key: str) -> Operator:
    """Return how to compare the value of sysctl.d: others raise limits and forwarding on purpose.

    kube-proxy raises the limit and the buckets, Docker and kube-proxy enable forwarding, and
    the kernel rounds buckets up to a page.
    """
    raised = key in {MAX, CONNTRACK + "buckets", CONNTRACK + "expect_max", IP_FORWARD}
    return Operator.AT_LEAST if raised or _FORWARDING.fullmatch(key) else Operator.EQUAL


def overwritten(key: str, others: Iterable[str]) -> list[str]:
    """Return those of `others` that writing `key` sets too: forwarding sets each interface."""
    family = {IP_FORWARD: "4", IPV6_FORWARDING: "6"}.get(key)
    if not family:
        return []
    matches = ((_FORWARDING.fullmatch(other), other) for other in others if other != key)
    return [other for match, other in matches if match and match.group(1) == family]


_CAPABILITIES = {FRAG6: "defrag_ipv6", BRIDGE: "bridge_netfilter", IPVS: "ipvs"}


def capability(key: str, present: Collection[str]) -> str | None:
    """Return the capability whose modules bring `key`; None where no NAT depends on them."""
    for prefix, name in _CAPABILITIES.items():
        if key.startswith(prefix):
            return name
    if not key.startswith(CONNTRACK):
        return None
    # Before 4.19 some protocols had separate modules: nobody needs them while the core is present.
    optional = _OPTIONAL.match(key) and CONNTRACK + "count" in present
    return None if optional else "conntrack"


def module(key: str) -> str | None:
    """Return the module that brings `key`; None where it is in the kernel itself."""
    return next((name for prefix, name in _MODULES.items() if key.startswith(prefix)), None)


_MODULES = {CONNTRACK: "nf_conntrack", BRIDGE: "br_netfilter", IPVS: "ip_vs"}


def unknown(key: str, present: Collection[str]) -> bool:
    """Return whether `key`, which is absent, will stay absent.

    It never existed, or is long gone, or its provider is present: the core, or for the keys
    of a protocol another key of it. `present` are the keys that this kernel has.
    """
    if key in _NEVER_HERE or key.startswith(_COMPATIBILITY):
        return True
    if protocol := _PROTOCOL.match(key):
        return any(other.startswith(protocol.group()) for other in present)
    if key.startswith("net/netfilter/"):
        return CONNTRACK + "count" in present
    return any(
        key.startswith(prefix) and any(other.startswith(prefix) for other in present)
        for prefix in (BRIDGE, IPVS)
    )
