"""One entry of the flow table, and what a reading of many of them holds."""

from __future__ import annotations

import enum
import socket
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Callable, NamedTuple, TypeVar

from netfilter_exporter.rules.families import Family

#: TCP_CONNTRACK_* (include/uapi/linux/netfilter/nf_conntrack_tcp.h, v6.18) in their order.
TCP_STATES = (
    "none",
    "syn_sent",
    "syn_recv",
    "established",
    "fin_wait",
    "close_wait",
    "last_ack",
    "time_wait",
    "close",
    "syn_sent2",
)

_UNACKNOWLEDGED = "syn_recv"

TCP = int(socket.IPPROTO_TCP)

#: The words of the `protocol` label; any other protocol is "other".
PROTOCOLS = {
    TCP: "tcp",
    int(socket.IPPROTO_UDP): "udp",
    int(socket.IPPROTO_ICMP): "icmp",
    int(socket.IPPROTO_ICMPV6): "icmp",
}

#: Those whose ports a `Flow` has, and their numbers.
WITH_PORTS = frozenset({"tcp", "udp"})
NUMBERS_WITH_PORTS = frozenset(n for n, word in PROTOCOLS.items() if word in WITH_PORTS)


class Translated(enum.Enum):
    """Which addresses or ports of a flow are translated; the value is the `translated` label."""

    NONE = "none"
    SOURCE = "source"
    DESTINATION = "destination"
    BOTH = "both"

    __hash__ = object.__hash__  # as of Family

    @property
    def source(self) -> bool:
        """Whether the source is translated."""
        return self in {Translated.SOURCE, Translated.BOTH}


#: By whether the source and the destination are translated.
TRANSLATED = {
    (False, False): Translated.NONE,
    (True, False): Translated.SOURCE,
    (False, True): Translated.DESTINATION,
    (True, True): Translated.BOTH,
}


class Kind(NamedTuple):
    """What flows have in common that a census counts together."""

    family: Family
    protocol: str  #: a word of PROTOCOLS, or other
    state: str  #: of TCP one of TCP_STATES; otherwise unreplied, replied or assured
    offloaded: bool
    replied: bool  #: a packet of the other direction was seen

    @property
    def answered(self) -> bool:
        """Whether a reply came and, as far as is known, reached the client.

        Packets are tracked before they are forwarded: of a handshake whose reply is dropped here,
        or finds no way, the client acknowledges nothing (tcp_conntracks in
        net/netfilter/nf_conntrack_proto_tcp.c, v6.18). Of other protocols it does not show.
        """
        return self.replied and self.state != _UNACKNOWLEDGED


class Flow(NamedTuple):
    """One entry; addresses are packed, in network byte order."""

    kind: Kind
    source: bytes  #: of the original direction
    #: Who answers: the source of the reply direction, which is behind a translated destination.
    destination: bytes
    port: int | None  #: of the destination; None for protocols other than TCP and UDP
    translated: Translated


#: Entries of TCP that kernels since v6.5 remove for a new flow that needs their port:
#: nf_nat_may_kill (net/netfilter/nf_nat_core.c, v6.18). Nothing shows whether a kernel does.
CLOSING = frozenset({"time_wait", "close"})


class Source(NamedTuple):
    """A translated source address, and the protocol of the ports that rules leave to it."""

    family: Family
    protocol: int
    address: bytes


class Towards(NamedTuple):
    """Flows with one translated source address and one destination, which share its ports."""

    family: Family
    protocol: int
    address: bytes  #: the translated source
    destination: bytes
    port: int  #: of the destination

    @property
    def source(self) -> Source:
        return Source(self.family, self.protocol, self.address)


class PortUse(NamedTuple):
    """The ports that sampled flows use towards one destination."""

    towards: Towards
    ports: Sequence[int]


E = TypeVar("E")
#: Flows of a group that are asked whether their source is translated.
_EXAMPLES = 8


def most_used(
    groups: Iterable[Sequence[E]],
    number: int,
    towards: Callable[[E], Towards | None],
    is_translated: Callable[[E], bool],
    port: Callable[[E], int],
) -> list[PortUse]:
    """Return at most so many of `groups`, of entries that share ports, the largest first.

    The functions read an entry: `towards` is None for a protocol without ports, `is_translated`
    says whether its source is.
    """
    found = []
    for group in sorted(groups, key=len, reverse=True)[: 2 * number]:
        end = towards(group[0])
        if end and any(map(is_translated, group[:_EXAMPLES])):
            found.append(PortUse(end, [port(entry) for entry in group]))
    return found[:number]


def _no_ports(number: int, fewest: int) -> list[PortUse]:  # noqa: ARG001 - there are no entries
    return []


class Reading(NamedTuple):
    """The head of the flow table, in the order of its buckets."""

    origin: str  #: ctnetlink or procfs
    keys: Sequence[bytes]  #: what each entry is known by in another reading from that origin
    census: Counter[Kind]
    flow: Callable[[int], Flow]  #: returns the entry that has this index in `keys`
    complete: bool  #: whether the table ended before the reading did
    #: Whether the kernel took far more time than its entries account for: it walks empty buckets,
    #: or entries of other namespaces, which it does not show.
    laborious: bool = False
    #: Returns at most so many destinations of at least so many flows with a translated source, the
    #: most used first.
    port_use: Callable[[int, int], list[PortUse]] = _no_ports


class Marks(NamedTuple):
    """What the kernel has marked a flow with."""

    replied: bool
    assured: bool
    offloaded: bool


def kind(family: Family, protocol: int, tcp_state: str, marks: Marks) -> Kind:
    """Return the kind of a flow; `tcp_state` is empty where the kernel shows none."""
    word = PROTOCOLS.get(protocol, "other")
    unreplied = "replied" if marks.replied else "unreplied"
    state = tcp_state or ("assured" if marks.assured else unreplied)
    return Kind(family, word, state, marks.offloaded, marks.replied)
