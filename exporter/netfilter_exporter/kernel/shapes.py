"""Parsing the same kind of message thousands of times.

A ruleset of twenty thousand rules has a few dozen layouts: the messages differ in addresses,
counters and names, which decide nothing. So a parser says, besides its result, which bytes it
has not looked at, and any message that equals a known one in all other bytes has its result.
This is exact: the way of a parser through a message depends on nothing but the bytes it reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Callable, Generic, TypeVar

T = TypeVar("T")

#: Shapes that are remembered of messages of one size; the others are parsed.
LIMIT = 16


@dataclasses.dataclass(frozen=True)
class Parsed(Generic[T]):
    """What a parser made of a message.

    `make` makes the result of any message of this shape, from the message; `unread` are the bytes
    on which neither the shape nor the parser's way through it depends.
    """

    make: Callable[[memoryview], T]
    unread: Iterable[slice]


class Shapes(Generic[T]):
    """A parser that recognises what it has parsed before; lives for one reading."""

    def __init__(self, parse: Callable[[memoryview], Parsed[T]]) -> None:
        self._parse = parse
        self._known: dict[int, list[tuple[int, int, Callable[[memoryview], T]]]] = {}

    def __call__(self, message: memoryview) -> T:
        """Return the result of the message; raises what the parser raises."""
        number = int.from_bytes(message, "little")
        known = self._known.setdefault(len(message), [])
        for mask, value, make in known:
            if number & mask == value:
                return make(message)
        parsed = self._parse(message)
        if len(known) < LIMIT:
            mask = _mask(len(message), parsed.unread)
            known.append((mask, number & mask, parsed.make))
        return parsed.make(message)


def _mask(size: int, unread: Iterable[slice]) -> int:
    mask = bytearray(b"\xff") * size
    for part in unread:
        mask[part] = bytes(len(mask[part]))
    return int.from_bytes(mask, "little")
