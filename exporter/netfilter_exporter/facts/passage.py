"""Facts about interfaces whose packets, or new ones, or replies, the rules do not let pass."""

from __future__ import annotations

import contextlib
import enum
import functools
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from netfilter_exporter.facts.engines import other_engines
from netfilter_exporter.facts.forwarding import (
    forwarding_interfaces,
    interfaces,
    interfaces_by_index,
)
from netfilter_exporter.facts.networks import IPV6_ANYWHERE, interface_networks
from netfilter_exporter.facts.rulesets import Ruleset, generation, rulesets
from netfilter_exporter.facts.set_contents import SetReader
from netfilter_exporter.facts.snapshot import Snapshot, fact
from netfilter_exporter.flows.networks import PRIVATE, RFC1918, Network
from netfilter_exporter.kernel import files, route
from netfilter_exporter.kernel.errors import NoData, ReadError
from netfilter_exporter.kernel.netlink.messages import NETLINK_ROUTE
from netfilter_exporter.kernel.ports import is_bridge_port
from netfilter_exporter.kernel.queue_listeners import read_queue_listeners
from netfilter_exporter.rules.families import TCP, UDP, Backend, Family, Hook
from netfilter_exporter.rules.incoming import Incoming
from netfilter_exporter.rules.match import (
    SOURCES,
    Field,
    InSet,
    Intervals,
    Match,
    Range,
    interface_names,
    intersection,
    ranged,
)
from netfilter_exporter.rules.model import Action, Table
from netfilter_exporter.rules.passage import Block

#: Global addresses of two regions: a default route leads to both.
_ANYWHERE = {
    Family.IPV4: (bytes((9, 9, 9, 9)), bytes((193, 0, 6, 139))),
    Family.IPV6: IPV6_ANYWHERE,
}
#: Interfaces of a family that are judged: with more of them, none is.
_MOST = 512
_ANONYMOUS = "__set"  #: how libnftnl and libnftables name sets that stand in a rule
_PUBLISHING = (Action.DNAT, Action.REDIRECT, Action.NETMAP)
_DOWN = frozenset({"down", "lowerlayerdown", "notpresent"})
#: Networks behind this host to which replies are judged, of a family: with more of them, none are.
_MOST_TO = 16
#: Of which replies are judged: what drops those of both is said once.
_PROTOCOLS = (TCP, UDP), (TCP,), (UDP,)


class Packets(enum.Enum):
    """Which packets from an interface are all dropped."""

    NEW = enum.auto()  #: the first of each flow
    LATER = enum.auto()  #: all but the first, of a network behind this host
    REPLIES = enum.auto()
    REPLIES_TO = enum.auto()  #: replies from an uplink to a network behind this host


class Blocked(NamedTuple):
    """An interface, and the base chain that drops all such packets from it."""

    family: Family
    interface: str
    backend: Backend
    block: Block
    packets: Packets = Packets.NEW
    protocols: tuple[int, ...] = (TCP, UDP)


@fact
def queue_listeners(snapshot: Snapshot) -> frozenset[int] | None:
    """The queues to which a program listens; None where that cannot be read."""
    try:
        return read_queue_listeners(snapshot.paths)
    except ReadError:
        return None


@fact
def blocked_interfaces(snapshot: Snapshot) -> tuple[Blocked, ...]:
    """The interfaces of which new flows, later packets or replies are all dropped by mistake.

    A firewall that lets nothing in from some network on purpose is not a fault. New flows of an
    interface should pass only if another base chain accepts what it names, if a rule translates its
    network, or if rules that translate any network are left without an interface that can use them.
    Where new flows may pass, later packets should, and if they may leave by an uplink, its replies:
    those of TCP as well as those of UDP.
    """
    found = rulesets(snapshot)
    if not any(each.facts and each.facts.passage.tables for each in found):
        return ()
    with contextlib.closing(SetReader(snapshot)) as sets:
        return tuple(
            each
            for family in Family
            for each in _of_family(snapshot, Judge(snapshot, family, found, sets))
        )


class Judge:
    """Finds the base chain that drops packets of a family."""

    def __init__(
        self, snapshot: Snapshot, family: Family, found: Sequence[Ruleset], sets: SetReader
    ) -> None:
        self.family = family
        self.found = found
        self._snapshot = snapshot
        self._sets = sets
        here = [each for each in found if family in each.families]
        engines = any(other_engines(snapshot).values())
        self._passages = [
            (each.backend, each.facts.passage, engines or _others_publish(here, each, family))
            for each in here
            if each.facts is not None and each.facts.passage.tables
        ]

    def arriving(self, name: str, *, established: bool = False) -> Incoming:
        """Return the packets that arrive at an interface."""
        number = interfaces(self._snapshot).get(name, 0)
        return Incoming(self.family, name, number, established=established)

    def block(self, incoming: Incoming) -> tuple[Backend, Block] | None:
        """Return what drops all of them."""
        for backend, passage, published in self._passages:
            block = passage.block(
                incoming,
                queue_listeners(self._snapshot),
                published=published,
                contents=functools.partial(_content, self._sets, incoming),
                stamp=generation(self._snapshot) if incoming.sources else None,
            )
            if block is not None:
                return backend, block
        return None


def _of_family(snapshot: Snapshot, judge: Judge) -> Iterator[Blocked]:
    family = judge.family
    scopes = list(_scopes(judge.found, family))
    if not scopes:
        return
    names = forwarding_interfaces(snapshot, family)
    if not names or len(names) > _MOST:
        return
    arriving = {name: judge.arriving(name) for name in names}
    blocks = {name: judge.block(each) for name, each in arriving.items()}
    named = frozenset(_named(scopes, Field.OUTPUT_INTERFACE))
    uplinks = blocks.keys() & (named or _UPLINKS[family](snapshot))
    others = [each for name, each in arriving.items() if name not in uplinks]
    lost = [*_replies(snapshot, judge, uplinks, others)]
    yield from lost or _replies_to(snapshot, judge, uplinks, others)
    inside = [each for each in arriving.values() if each.interface not in named]
    open_ = [each.interface for each in inside if not blocks[each.interface]]
    yield from _later(snapshot, judge, open_)
    closed: list[Blocked] = []
    if len(open_) < len(inside):  # not so on most gateways
        closed += _closed(snapshot, judge, inside, blocks, scopes)
    yield from closed or _by_source(snapshot, judge, inside, scopes)


def _replies(
    snapshot: Snapshot, judge: Judge, uplinks: Collection[str], others: Sequence[Incoming]
) -> Iterator[Blocked]:
    """Yield the uplinks from which no reply passes, or none of a protocol, though flows may leave.

    One protocol may be closed on purpose: then its new flows are dropped, too.
    """
    for name in sorted(uplinks):
        replies = judge.arriving(name, established=True)
        for protocols in _PROTOCOLS:
            block = judge.block(replies._replace(protocols=protocols))
            if not block:
                continue
            leaving = name, replies.number
            new = (each._replace(protocols=protocols, leaving=leaving) for each in others)
            if not all(map(judge.block, new)) and _is_running(snapshot, name):
                yield Blocked(judge.family, name, *block, Packets.REPLIES, protocols)
                break


def _replies_to(
    snapshot: Snapshot, judge: Judge, uplinks: Collection[str], others: Sequence[Incoming]
) -> Iterator[Blocked]:
    """Yield the networks to which no reply from an uplink passes, though their flows may leave."""
    for each in others if len(others) <= _MOST_TO else ():
        for name in sorted(uplinks):
            replies = judge.arriving(name, established=True)
            block = judge.block(replies._replace(leaving=(each.interface, each.number)))
            if not block or judge.block(each._replace(leaving=(name, replies.number))):
                continue
            if _is_inside(snapshot, judge.family, each.interface) and _is_running(snapshot, name):
                yield Blocked(judge.family, each.interface, *block, Packets.REPLIES_TO)
                break


def _later(snapshot: Snapshot, judge: Judge, names: Sequence[str]) -> Iterator[Blocked]:
    """Yield the interfaces of networks behind this host from which no later packet passes."""
    for name in sorted(names):
        block = judge.block(judge.arriving(name, established=True))
        if block and _is_inside(snapshot, judge.family, name):
            yield Blocked(judge.family, name, *block, Packets.LATER)


def _closed(
    snapshot: Snapshot,
    judge: Judge,
    inside: Sequence[Incoming],
    blocks: Mapping[str, tuple[Backend, Block] | None],
    scopes: Sequence[Sequence[Match] | None],
) -> Iterator[Blocked]:
    """Yield the interfaces that something serves, of those that are blocked."""
    family = judge.family
    names = [each.interface for each in inside]
    closed = _inside(snapshot, family, [name for name in names if blocks[name]])
    if not closed:
        return
    accepted = frozenset().union(*(e.facts.passage.accepts for e in judge.found if e.facts))
    served = _served(snapshot, family, names, scopes)
    rest = (name for name in names if not blocks[name] and name not in served)
    useless = _translate_any(scopes) and not any(_is_inside(snapshot, family, n) for n in rest)
    for name in closed:
        block = blocks[name]
        if block and (name in accepted or name in served or useless):
            yield Blocked(family, name, *block)


def _by_source(
    snapshot: Snapshot,
    judge: Judge,
    arriving: Sequence[Incoming],
    scopes: Sequence[Sequence[Match] | None],
) -> Iterator[Blocked]:
    """Yield the interfaces of private networks, if all of them and any private source is dropped.

    That is how a list of networks that have no place on the internet blocks what is behind a host.
    Where one may pass, others may be closed on purpose; and behind a network may be further ones.
    Of IPv6 nothing is said: unique local addresses are seldom for the internet.
    """
    compare = any(each.facts and each.facts.passage.compares_sources for each in judge.found)
    family = judge.family
    if not arriving or family is not Family.IPV4 or not compare:
        return
    names = _inside(snapshot, family, [each.interface for each in arriving])
    if not (_translate_any(scopes) or _served(snapshot, family, names, scopes)):
        return
    networks = _networks(snapshot, family)
    blocked = []
    for each in (each for each in arriving if each.interface in names):
        own = [_private_of(network) for (network,) in networks.get(each.number, ())]
        sources = dict.fromkeys((*own, *_RFC1918))
        blocks = [
            judge.block(each._replace(sources=(source,))) if source else None for source in sources
        ]
        if not own or not blocks[0] or not all(blocks):
            return
        blocked.append(Blocked(family, each.interface, *blocks[0]))
    yield from blocked


def _ends(network: Network) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)


_RFC1918 = [_ends(each) for each in RFC1918]
_PRIVATE = [_ends(each) for each in PRIVATE if each.version == 4]


def _private_of(network: tuple[int, int]) -> tuple[int, int] | None:
    """Return the private network of the registries that a network is in."""
    return next((p for p in _PRIVATE if p[0] <= network[0] and network[1] <= p[1]), None)


def _scopes(found: Sequence[Ruleset], family: Family) -> Iterator[Sequence[Match] | None]:
    """Yield what each source-translating rule of a family matches; None: anything."""
    for each in found:
        if each.facts is None or not each.facts.in_full.forwarded[family]:
            continue
        key = family, Hook.POSTROUTING
        if key in each.facts.in_full.scopes:
            known = each.facts.in_full.scopes[key]
            yield from (None,) if known is None else known


def _content(sets: SetReader, incoming: Incoming, table: Table, match: InSet) -> Match:
    """Return a match on what a set holds, as far as these flows go: networks, or states."""
    if match.fields == (SOURCES[incoming.family],) and incoming.sources:
        size = SOURCES[incoming.family].size
        networks = [tuple(n.to_bytes(size, "big") for n in pair) for pair in incoming.sources]
        if all(sets.covers(table.families, table.name, match.name, (a, b)) for a, b in networks):
            return ranged(SOURCES[incoming.family], incoming.sources, negated=match.negated)
        return match
    return _states(sets, table, match)


def _states(sets: SetReader, table: Table, match: InSet) -> Match:
    """Return a match on the states that a set without a name holds, which cannot change."""
    if match.fields != (Field.CT_STATE,) or not match.name.startswith(_ANONYMOUS):
        return match
    found = sets.read(table.families, table.name, match.name)
    if found is None or found.keys is None:
        return match
    states = (int.from_bytes(key[: Field.CT_STATE.size], sys.byteorder) for key in found.keys)
    return ranged(Field.CT_STATE, ((state, state) for state in states), negated=match.negated)


def _others_publish(here: Sequence[Ruleset], ruleset: Ruleset, family: Family) -> bool:
    return any(_publishes(other, family) for other in here if other is not ruleset)


def _publishes(ruleset: Ruleset, family: Family) -> bool:
    """Return whether rules may translate the destination of what arrives; unread, they may."""
    if ruleset.facts is None:
        return True
    return any(ruleset.facts.rules[family, action] for action in _PUBLISHING)


def _inside(snapshot: Snapshot, family: Family, names: Sequence[str]) -> list[str]:
    return [name for name in names if _is_inside(snapshot, family, name)]


def _is_inside(snapshot: Snapshot, family: Family, name: str) -> bool:
    """Return whether new flows from an interface are to be forwarded: no uplink, and running."""
    return (
        name not in _UPLINKS[family](snapshot)
        and not is_bridge_port(snapshot.paths, name)
        and _is_running(snapshot, name)
    )


@fact
def _ipv4_uplinks(snapshot: Snapshot) -> frozenset[str]:
    """The interfaces that lead to the IPv4 internet."""
    return _read_uplinks(snapshot, Family.IPV4)


@fact
def _ipv6_uplinks(snapshot: Snapshot) -> frozenset[str]:
    """The interfaces that lead to the IPv6 internet."""
    return _read_uplinks(snapshot, Family.IPV6)


_UPLINKS = {Family.IPV4: _ipv4_uplinks, Family.IPV6: _ipv6_uplinks}


def _read_uplinks(snapshot: Snapshot, family: Family) -> frozenset[str]:
    by_index = interfaces_by_index(snapshot)
    answers = (route.ask(snapshot.connection(NETLINK_ROUTE), a) for a in _ANYWHERE[family])
    return frozenset(by_index.get(answer.interface, "") for answer in answers if answer)


def _is_running(snapshot: Snapshot, name: str) -> bool:
    """Return whether an interface has a carrier, or does not say: operstate of sysfs."""
    try:
        state = files.read_bytes(snapshot.paths.sys(f"class/net/{name}/operstate"))
    except NoData:
        return True
    return state.decode("ascii", "replace").strip() not in _DOWN


def _served(
    snapshot: Snapshot,
    family: Family,
    names: Collection[str],
    scopes: Sequence[Sequence[Match] | None],
) -> set[str]:
    """Return the interfaces that a translating rule names, or whose network it names."""
    sources = [
        match.intervals
        for scope in scopes
        for match in scope or ()
        if isinstance(match, Range) and match.field is SOURCES[family] and not match.negated
    ]
    served = set(_named(scopes, Field.INPUT_INTERFACE))
    if sources:
        networks = _networks(snapshot, family)
        for name in names:
            own = networks.get(interfaces(snapshot).get(name, 0), ())
            if any(intersection(one, other) for one in sources for other in own):
                served.add(name)
    return served


def _networks(snapshot: Snapshot, family: Family) -> Mapping[int, Sequence[Intervals]]:
    """Return the networks of each interface, by its index, but for link-local ones."""
    found: dict[int, list[Intervals]] = {}
    for each in interface_networks(snapshot.connection(NETLINK_ROUTE), family):
        found.setdefault(each.interface, []).append(((each.first, each.last),))
    return found


def _named(scopes: Sequence[Sequence[Match] | None], field: Field) -> Iterator[str]:
    for scope in scopes:
        for match in scope or ():
            if isinstance(match, Range) and match.field is field and not match.negated:
                yield from interface_names(match)


#: What a rule may compare that still translates whatever network packets come from.
_ANY_SOURCE = frozenset(
    {
        Field.OUTPUT_INTERFACE,
        Field.OUTPUT_INDEX,
        Field.FAMILY,
        Field.ETHERTYPE,
        Field.PROTOCOL,
        Field.DESTINATION_IPV4,
        Field.DESTINATION_IPV6,
        Field.DESTINATION_PORT,
        Field.DESTINATION_TYPE,
        Field.CT_STATE,
    }
)


def _translate_any(scopes: Sequence[Sequence[Match] | None]) -> bool:
    """Return whether some rule translates whatever network packets come from.

    Not one that waits for a mark: whoever sets that decides whom it serves.
    """
    return any(scope is not None and all(map(_lets_any, scope)) for scope in scopes)


def _lets_any(match: Match) -> bool:
    """Return whether a match names no source, or only excludes some."""
    if isinstance(match, InSet):
        return all(field in _ANY_SOURCE for field in match.fields)
    if not isinstance(match, Range):
        return False
    return match.field in _ANY_SOURCE or (match.field in SOURCES.values() and match.negated)
