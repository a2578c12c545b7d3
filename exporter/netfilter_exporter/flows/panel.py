"""What two readings of the same buckets have in common, and what was born in between.

Each reading begins at the same buckets, but no entry shows its bucket. So two readings are
compared up to the last entry that both hold: what is new before it was born in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from netfilter_exporter.kernel.conntrack.flow import Reading

#: With fewer entries in common, two parts of a table may hardly overlap: a flood, or a resize.
LEAST_COMMON = 30


class Panel(NamedTuple):
    """What is remembered of a reading."""

    origin: str
    keys: Sequence[bytes]
    complete: bool


class Change(NamedTuple):
    """The difference of two readings."""

    births: Sequence[int]  #: indexes in the keys of the later reading
    region: int  #: how many entries of the later reading were compared, the first ones
    complete: bool  #: whether both readings were of the whole table


def panel(reading: Reading) -> Panel:
    """Return what is to be remembered of a reading."""
    return Panel(reading.origin, reading.keys, reading.complete)


def compare(before: Panel, now: Reading) -> Change | None:
    """Return what changed; None where the two cannot be compared."""
    if before.complete and now.complete and (before.origin == now.origin or not before.keys):
        known = frozenset(before.keys)
        births = [index for index, key in enumerate(now.keys) if key not in known]
        return Change(births, len(now.keys), complete=True)
    if before.origin != now.origin:
        return None
    places = {key: place for place, key in enumerate(before.keys)}
    common = [index for index, key in enumerate(now.keys) if key in places]
    if len(common) < LEAST_COMMON or not _in_order([places[now.keys[i]] for i in common]):
        return None
    region = common[-1] + 1
    shared = frozenset(common)
    return Change([i for i in range(region) if i not in shared], region, complete=False)


def _in_order(places: Sequence[int]) -> bool:
    """Return whether entries kept their order: a resized table has another."""
    return all(one < other for one, other in zip(places, places[1:]))
