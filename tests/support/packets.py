"""Packets of a small world, and how a NAT hook treats each: brute force, by the definitions.

It shares no code with the analysis but the model of rules. Whatever a rule leaves to chance goes
both ways.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from netfilter_exporter.rules.match import Bits, Field, InSet, Match, Opaque, Range
from netfilter_exporter.rules.model import Rule, Table, Verdict

#: Every field, and the numbers that a packet may have there.
WORLD: Mapping[Field, range] = {
    Field.SOURCE_IPV4: range(8),
    Field.DESTINATION_PORT: range(2),
    Field.PROTOCOL: range(2),
    Field.MARK: range(3),
}
Packet = dict[Field, int]
Place = tuple[str, int]  #: chain, and position counted from 1
#: What a set holds, and which packets a stable match of unknown meaning accepts: by number.
Contents = Mapping[str, frozenset[int]]


def packets() -> Iterator[Packet]:
    """Yield all of them."""
    for numbers in itertools.product(*WORLD.values()):
        yield dict(zip(WORLD, numbers))


def met(table: Table, base: str, contents: Contents, writes: Mapping[int, int]) -> set[Place]:
    """Return the rules that some packet meets and matches.

    `writes` are the marks that rules set, by the identity of the rule.
    """
    found: set[Place] = set()
    for packet in packets():
        _Walk(table, contents, writes, found).chain(base, packet)
    return found


class _Walk:
    """The ways of one packet."""

    def __init__(
        self, table: Table, contents: Contents, writes: Mapping[int, int], found: set[Place]
    ) -> None:
        self._table = table
        self._contents = contents
        self._writes = writes
        self._found = found

    def chain(self, name: str, packet: Packet, start: int = 0) -> list[Packet]:
        """Walk a chain from rule `start`; return the packets that come back from it."""
        rules = self._table.rules(name)
        details = list(self._table.details(name))
        for number in range(start, len(rules)):
            rule = rules[number]
            outcomes = self._outcomes(details[number].matches, packet)
            if True not in outcomes:
                continue
            back = self.chain(name, packet, number + 1) if False in outcomes else []
            changed = packet
            if id(rule) in self._writes:
                changed = {**packet, Field.MARK: self._writes[id(rule)]}
            self._found.add((name, number + 1))
            return back + self._taken(rule, name, changed, number)
        return [packet]

    def _taken(self, rule: Rule, name: str, packet: Packet, number: int) -> list[Packet]:
        """Do what a rule says that the packet matches."""
        if rule.action is not None:
            return []
        if rule.verdict is Verdict.RETURN:
            return [packet]
        if rule.verdict is Verdict.GOTO:
            return self.chain(rule.targets[0], packet)
        if rule.verdict is Verdict.JUMP:
            back = self.chain(rule.targets[0], packet)
            return [p for one in back for p in self.chain(name, one, number + 1)]
        if rule.verdict is not None:
            return []
        return self.chain(name, packet, number + 1)

    def _outcomes(self, matches: tuple[Match, ...], packet: Packet) -> set[bool]:
        """Return whether the packet matches: both where that is left to chance."""
        results = [self._accepts(match, packet) for match in matches]
        if False in results:
            return {False}
        return {True, False} if None in results else {True}

    def _accepts(self, match: Match, packet: Packet) -> bool | None:
        if isinstance(match, Range):
            return any(a <= packet[match.field] <= b for a, b in match.intervals)
        if isinstance(match, Bits):
            return (packet[match.field] & match.mask == match.value) is not match.negated
        if isinstance(match, InSet):
            (field,) = match.fields
            assert field is not None
            return (packet[field] in self._contents[match.name]) is not match.negated
        assert isinstance(match, Opaque)
        if not match.stable:
            return None
        return packet[Field.SOURCE_IPV4] in self._contents[match.token.decode()]
