"""What a rule says in full: its matches, its target, its queue. Decoded on demand.

Twenty thousand rules have a few dozen forms: they differ in addresses, ports and names. So a `Form`
is shared by all rules of its kind, and a chain keeps of each rule only the bytes in which it
differs (`Chain.values`), some ten of them.
"""

from __future__ import annotations

import functools
from typing import Callable, NamedTuple

from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.match import Field, Match

Slot = tuple[int, int]  #: from where to where in the values of a rule


class NatTarget(NamedTuple):
    """To what a rule translates."""

    family: Family | None = None  #: of the addresses
    addresses: tuple[int, int] | None = None  #: first and last; None: it names none
    ports: tuple[int, int] | None = None
    map: str = ""  #: the map in which addresses or ports are looked up
    known: bool = True  #: False: it also depends on what is not decoded


class Queue(NamedTuple):
    """The queues of NFQUEUE, of which a packet goes to one."""

    first: int
    last: int
    bypass: bool  #: without a listener the packet goes on, instead of being dropped
    known: bool = True  #: False: the number is computed from the packet


class MatchReader(NamedTuple):
    """How matches are read: a function of constants, and of parts of the rule's values."""

    read: Callable[..., tuple[Match, ...]]
    constants: tuple[object, ...] = ()
    slots: tuple[Slot, ...] = ()


class NatReader(NamedTuple):
    """How the target of a translation is read, likewise."""

    read: Callable[..., NatTarget]
    constants: tuple[object, ...] = ()
    slots: tuple[Slot, ...] = ()


class Form(NamedTuple):
    """What all rules of a kind have in common."""

    size: int = 0  #: bytes of values of each such rule
    matches: tuple[MatchReader, ...] = ()
    nat: NatReader | None = None
    queue: Queue | None = None
    #: Fields that such a rule changes in the packet or its flow; None: it may change any.
    writes: frozenset[Field] | None = frozenset()


NO_FORM = Form()


class RuleDetail:
    """One rule in full; each part is decoded on first use."""

    def __init__(self, form: Form, values: bytes) -> None:
        self.form = form
        self.values = values

    @functools.cached_property
    def matches(self) -> tuple[Match, ...]:
        """What a packet has to fulfil, in the order of the rule; none of an unconditional rule.

        A rule whose `Rule.families` are fewer than its table's also leaves the others alone.
        """
        found: list[Match] = []
        for read, constants, slots in self.form.matches:
            found += read(*constants, *self._parts(slots))
        return tuple(found)

    @functools.cached_property
    def nat(self) -> NatTarget | None:
        """The target of a translating rule; None where it names neither address nor port."""
        reader = self.form.nat
        if reader is None:
            return None
        found = reader.read(*reader.constants, *self._parts(reader.slots))
        return None if found == NatTarget(found.family) else found

    def _parts(self, slots: tuple[Slot, ...]) -> list[bytes]:
        return [self.values[start:end] for start, end in slots]
