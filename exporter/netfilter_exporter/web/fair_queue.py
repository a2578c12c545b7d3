"""A bounded queue in which nobody waits behind all that another one has sent."""

from __future__ import annotations

import ipaddress
import random
from collections import deque
from typing import Generic, Protocol, TypeVar


class Queued(Protocol):
    """What can wait in line."""

    def is_abandoned(self) -> bool:
        """Return whether no request waits for it."""
        ...


T = TypeVar("T", bound=Queued)


class FairQueue(Generic[T]):
    """Serves its lanes in turn; where it is full, the longest lane gives one up."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lanes: dict[str, deque[T]] = {}  #: none is empty; the first has its turn

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def push(self, lane: str, item: T) -> T | None:
        """Add `item`; return what had to go for it, which may be `item` itself."""
        self._lanes.setdefault(lane, deque()).append(item)
        return self._give_up_one() if len(self) > self._limit else None

    def pop(self) -> T:
        """Return the first item of the lane whose turn it is."""
        lane = next(iter(self._lanes))
        items = self._lanes.pop(lane)
        item = items.popleft()
        if items:
            self._lanes[lane] = items  # behind all others
        return item

    def _give_up_one(self) -> T:
        """Remove what nobody waits for, otherwise the newest, of one of the longest lanes."""
        longest = max(map(len, self._lanes.values()))
        lane = random.choice(  # noqa: S311 - no secret: so that none of many is always the one
            [name for name, items in self._lanes.items() if len(items) == longest]
        )
        items = self._lanes[lane]
        given_up = next((item for item in items if item.is_abandoned()), items[-1])
        items.remove(given_up)
        if not items:
            del self._lanes[lane]
        return given_up


def lane_of(address: str) -> str:
    """Return the lane of a peer: its IPv4 address, or its network of 64 bits in IPv6.

    One host has all addresses of such a network. What is not an address has one lane.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
