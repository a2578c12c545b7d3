"""Parsing the same kind of message thousands of times.

A ruleset of twenty thousand rules has a few dozen layouts: the messages differ in addresses,
counters and names, which decide nothing. So a parser says, besides its result, which bytes it
has not looked at, and any message that equals a known one in all other bytes has its result.
This is exact: the way of a parser through a message depends on nothing but the bytes it reads.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import operator
import struct
from collections.abc import Iterable, Sequence
from typing import Callable, Generic, TypeVar

T = TypeVar("T")

#: Layouts that are remembered of messages of one size; the others are parsed.
LIMIT = 16


#: Returns some parts of a message, in their order.
Unpack = Callable[[memoryview], "tuple[bytes, ...]"]


@dataclasses.dataclass(frozen=True)
class Parsed(Generic[T]):
    """What a parser made of a message.

    `make` makes the result of any message of this shape, from the message; `ignored` are the bytes
    on which neither the shape nor the parser's way through it depends.
    """

    make: Callable[[memoryview], T]
    ignored: Iterable[slice]


def parser_cache(parse: Callable[[memoryview], Parsed[T]]) -> Callable[[memoryview], T]:
    """Return a parser that recognises what it has parsed before; it lives for one reading.

    It raises what `parse` raises. A closure: to call one costs less than to call an object.
    """
    known_of: dict[int, list[tuple[Unpack, tuple[bytes, ...], Callable[[memoryview], T]]]]
    known_of = collections.defaultdict(list)

    def recognise(message: memoryview) -> T:
        known = known_of[len(message)]
        for entry in known:
            unpack, read, make = entry
            if unpack(message) == read:
                if entry is not known[0]:  # the most frequent ones come to the front
                    place = known.index(entry)
                    known[place - 1], known[place] = entry, known[place - 1]
                return make(message)
        parsed = parse(message)
        if len(known) < LIMIT:
            unpack = unpacker_of_others(len(message), parsed.ignored)
            known.append((unpack, unpack(message), parsed.make))
        return parsed.make(message)

    return recognise


class Picker:
    """Unpacks groups of parts of a message at once; parts may be in several groups."""

    def __init__(self, size: int, *groups: Sequence[slice]) -> None:
        self._groups = groups
        self._parts = sorted({(part.start, part.stop) for parts in groups for part in parts})
        self.unpack = unpacker(size, (slice(*part) for part in self._parts))

    def at(self, part: slice) -> int:
        """Return which one of what is unpacked `part` is."""
        return self._parts.index((part.start, part.stop))

    def group(self, number: int) -> Callable[[tuple[bytes, ...]], tuple[bytes, ...]]:
        """Return what selects a group from what was unpacked, in the order that was given."""
        places = self._places(number)
        first = places[0] if places else 0
        if places == list(range(first, first + len(places))):
            return operator.itemgetter(slice(first, first + len(places)))
        return operator.itemgetter(*places)

    def joined(self, number: int) -> Callable[[tuple[bytes, ...]], bytes]:
        """Return what joins the parts of a group, in the cheapest way."""
        places = self._places(number)
        if len(places) == 1:
            return operator.itemgetter(places[0])
        if not places:
            return lambda _: b""
        group, join = self.group(number), b"".join
        return lambda parts: join(group(parts))

    def _places(self, number: int) -> list[int]:
        return [self.at(part) for part in self._groups[number]]


def unpacker(size: int, parts: Iterable[slice]) -> Unpack:
    """Return what unpacks `parts`, in their order and apart, of a message of `size` bytes."""
    format_, at = "=", 0
    for part in parts:
        start, stop, _ = part.indices(size)
        format_ += f"{start - at}x{stop - start}s"
        at = stop
    return struct.Struct(f"{format_}{size - at}x").unpack


def unpacker_of_others(size: int, parts: Iterable[slice]) -> Unpack:
    """Return what unpacks all but `parts`: a call of half a microsecond."""
    in_parts = bytearray(size)
    for part in parts:
        in_parts[part] = b"\1" * len(in_parts[part])
    runs = ((left_out, len(list(run))) for left_out, run in itertools.groupby(in_parts))
    format_ = "".join(f"{length}{'x' if left_out else 's'}" for left_out, length in runs)
    return struct.Struct(f"={format_}").unpack
