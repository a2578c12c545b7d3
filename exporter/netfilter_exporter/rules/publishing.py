"""Rules that publish another host: where the connections that they translate go."""

from __future__ import annotations

from typing import NamedTuple

from netfilter_exporter.rules.detail import NatTarget, RuleDetail
from netfilter_exporter.rules.families import TCP, UDP, Family, Hook
from netfilter_exporter.rules.incoming import Incoming
from netfilter_exporter.rules.match import (
    DESTINATIONS,
    INPUTS,
    SOURCES,
    Field,
    Intervals,
    Range,
    contains,
    narrowed,
)
from netfilter_exporter.rules.model import Action

_TCP_UDP: Intervals = ((TCP, TCP), (UDP, UDP))
#: What a rule may compare that holds of the packet until it leaves: not a mark.
_LASTING = frozenset({*INPUTS, Field.SOURCE_PORT, *SOURCES.values()})


class Published(NamedTuple):
    """Connections that are translated to another host, and what all their packets have."""

    families: frozenset[Family]
    addresses: Intervals  #: of that host
    protocols: tuple[int, ...]
    ports: Intervals  #: none: unknown
    matched: tuple[tuple[Field, Intervals], ...] = ()  #: what the rule compares, of the client

    def packets(self, family: Family, interface: str = "", number: int = 0) -> dict[str, Incoming]:
        """Return their first packets, later ones of the client, and replies, by what one is.

        `interface` is the one where the client's arrive, with its index; empty: any.
        """
        to_host = [*self.matched, (DESTINATIONS[family], self.addresses)]
        from_host = [(SOURCES[family], self.addresses)]
        if self.ports:
            to_host.append((Field.DESTINATION_PORT, self.ports))
            from_host.append((Field.SOURCE_PORT, self.ports))
        first = Incoming(
            family,
            interface,
            number,
            protocols=self.protocols,
            translated=True,
            known=tuple(to_host),
        )
        later = first._replace(established=True)
        replies = later._replace(interface="", number=0, known=tuple(from_host))
        return {"new connection": first, "later packet": later, "reply": replies}


def published(
    families: frozenset[Family], action: Action, detail: RuleDetail, at: frozenset[Hook]
) -> Published | None:
    """Return what a rule publishes.

    None where that is unknown, as with a map, where the rule is for more than TCP and UDP, and
    where this host sends packets to it, too: what is dropped on its way through is not all.
    """
    target = detail.nat or NatTarget()
    if action is not Action.DNAT or at != {Hook.PREROUTING} or not target.known or target.map:
        return None
    if target.family is None or target.addresses is None:
        return None
    ranges = {m.field: m.intervals for m in narrowed(detail.matches) if isinstance(m, Range)}
    protocols = ranges.get(Field.PROTOCOL, ())
    if not protocols or not contains(_TCP_UDP, protocols) or not all(ranges.values()):
        return None
    return Published(
        families & {target.family},
        (target.addresses,),
        tuple(n for n in (TCP, UDP) if contains(protocols, ((n, n),))),
        (target.ports,) if target.ports else ranges.get(Field.DESTINATION_PORT, ()),
        tuple((field, found) for field, found in ranges.items() if field in _LASTING),
    )
