"""One expression in the message of a rule: its attributes, walked once."""

from __future__ import annotations

from typing import NamedTuple

from netfilter_exporter.kernel.netlink.attributes import attribute_places, be32
from netfilter_exporter.kernel.nft.uapi import NFTA_EXPR_DATA


class Expression(NamedTuple):
    """The attributes in the NFTA_EXPR_DATA of an expression."""

    message: memoryview
    places: dict[int, slice]
    all: slice  #: what is behind the name

    def has(self, type_: int) -> bool:
        return type_ in self.places

    def number(self, type_: int, default: int = 0) -> int:
        """Return a 32-bit attribute."""
        place = self.places.get(type_)
        return default if place is None else be32(self.message[place])

    def content(self, type_: int) -> memoryview:
        """Return the value of an attribute; it is empty where that is missing."""
        return self.message[self.places.get(type_, slice(0, 0))]

    def inside(self, *path: int) -> slice | None:
        """Return where the value of a nested attribute is; of a repeated type the last one."""
        place = self.places.get(path[0])
        for type_ in path[1:]:
            if place is None:
                return None
            place = places(self.message, place).get(type_)
        return place

    def but(self, *types: int) -> tuple[slice, ...]:
        """Return where the values of all other attributes are."""
        return tuple(place for type_, place in self.places.items() if type_ not in types)


def expression(message: memoryview, start: int, end: int) -> Expression:
    """Return the expression whose data begins at `start`, behind its name."""
    data = places(message, slice(start, end)).get(NFTA_EXPR_DATA, slice(start, start))
    return Expression(message, places(message, data), slice(start, end))


def places(message: memoryview, where: slice) -> dict[int, slice]:
    """Return where the value of each attribute in a nest is, by type."""
    found = attribute_places(message, where.start, where.stop)
    return {type_: slice(start, end) for type_, start, end in found}
