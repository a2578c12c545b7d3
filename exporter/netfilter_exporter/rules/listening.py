"""Rules that send connections to this host: where a program must listen for them."""

from __future__ import annotations

from typing import NamedTuple

from netfilter_exporter.rules.detail import NatTarget, RuleDetail
from netfilter_exporter.rules.families import TCP, UDP, Family, Hook
from netfilter_exporter.rules.match import (
    LOOPBACK,
    Field,
    Intervals,
    Range,
    contains,
    narrowed,
)
from netfilter_exporter.rules.model import Action

_WORDS = {TCP: "TCP", UDP: "UDP"}
_ANY = 0  #: the address of a socket that takes connections to each address of the host


class Listener(NamedTuple):
    """A socket that takes connections, of UDP datagrams from anybody."""

    family: Family  #: of the packets
    address: int
    port: int


class Listening(NamedTuple):
    """A program must listen at one of these ports."""

    families: frozenset[Family]
    ports: Intervals
    address: int | None = None  #: of a rule that names one; None: one of the host's
    received: bool = False  #: no packet that this host sends comes to the rule
    protocol: int = TCP

    @property
    def what(self) -> str:
        """Name the ports, as rules do."""
        written = (str(a) if a == b else f"{a}-{b}" for a, b in self.ports)
        return f"{_WORDS[self.protocol]} port {', '.join(written)}"

    def is_heard_by(self, listener: Listener) -> bool:
        """Return whether a socket of the protocol may take connections that the rule matches.

        What is received goes to an address of the interface where it came in, what is sent to
        loopback: nf_nat_redirect_ipv4 and _ipv6 (net/netfilter/nf_nat_redirect.c, v6.18).
        """
        family, address, port = listener
        if family not in self.families or not contains(self.ports, ((port, port),)):
            return False
        if self.address is not None:
            return address in {_ANY, self.address}
        return not (self.received and contains(LOOPBACK[family], ((address, address),)))


def listening(
    families: frozenset[Family], action: Action, detail: RuleDetail, at: frozenset[Hook]
) -> Listening | None:
    """Return where a program must listen for what a rule matches.

    None where that is unknown, as with a map, or where the rule is for more than TCP, or
    than UDP.
    """
    target = detail.nat or NatTarget()
    if action not in {Action.REDIRECT, Action.DNAT} or not target.known or target.map:
        return None
    ranges = {m.field: m for m in narrowed(detail.matches) if isinstance(m, Range)}
    protocol, port = ranges.get(Field.PROTOCOL), ranges.get(Field.DESTINATION_PORT)
    ports = (target.ports,) if target.ports else port.intervals if port else ()
    number = _number(protocol) if protocol else None
    if not ports or number not in _WORDS:
        return None
    found = Listening(families, ports, received=at == {Hook.PREROUTING}, protocol=number)
    if action is Action.REDIRECT:
        return found
    first, last = target.addresses or (0, 1)
    if target.family is None or first != last:
        return None
    return found._replace(families=families & {target.family}, address=first)


def _number(match: Range) -> int | None:
    """Return the one number that a match accepts."""
    first, last = match.intervals[0] if len(match.intervals) == 1 else (0, 1)
    return first if first == last else None
