"""What looks at the flow table cost, how true they are, and what they do to others."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from typing import NamedTuple

import forwarding
import measures
from measures import percentile
from rows import Row, row


class Plan(NamedTuple):
    """How much is looked at."""

    buckets: tuple[int, ...]
    own: tuple[int, ...]  #: flows, in tables of each size
    foreign: int  #: beside `few` own ones
    few: int
    births: tuple[tuple[int, int], ...]  #: flows, and windows with births
    forwarded: tuple[int, int, int]  #: flows, rounds, packets in a round
    scrapes: tuple[int, int]  #: rounds, scrapes in a round; beside as many flows as `few`


FULL = Plan(
    buckets=(1 << 18, 1 << 20),
    own=(0, 100, 200_000, 1_000_000),
    foreign=1_000_000,
    few=1_000,
    births=((200_000, 50), (1_000_000, 20)),
    forwarded=(200_000, 20, 20_000),
    scrapes=(50, 20),
)


def rows(plan: Plan) -> Iterator[Row]:
    """Measure, and yield the lines of the table."""
    worlds = [(own, 0, buckets) for buckets in plan.buckets for own in plan.own]
    worlds += [(plan.few, plan.foreign, buckets) for buckets in plan.buckets]
    resident, share = 0.0, 0.0
    for own, foreign, buckets in worlds:
        about = f"{own} flows" + (f" next to {foreign} of others" if foreign else "")
        about += f", {buckets} buckets"
        _say(f"looks: {about}")
        found = measures.chosen(own, foreign, buckets)
        yield row(f"CPU of a look, median: {about}", found["CPU median"], 10, " ms")
        yield row(f"longest single receive: {about}", found["longest receive"], 10, " ms")
        resident = max(resident, found["resident"])
        share = max(share, found["share"])
    yield row("CPU of looks every 15 s, the most of all these", share, 0.5, " %")
    yield row("memory of the looks, the most of all these", resident, 2, " MB")
    for count, windows in plan.births:
        yield from _births(count, windows)
    yield from _scrapes(*plan.scrapes, plan.births[0][0])
    yield from _forwarding(*plan.forwarded)


def _births(count: int, windows: int) -> Iterator[Row]:
    _say(f"births: {count} flows")
    found = measures.looks(count, windows)
    about = f"{windows} windows at {count} flows"
    for origin in ("ctnetlink", "procfs"):
        what = f"CPU of a look at {count} flows ({origin}), median"
        yield row(what, found[f"{origin} CPU median"], 10, " ms")
    error = abs(found["births mean error"]) * 100
    yield row(f"births: mean error over {about}", error, 5, " %")
    within = found["births within 2/sqrt(n)"]
    yield Row(
        f"births: within 2/\N{SQUARE ROOT}n, of {about}",
        f"{within * 100:.0f} %",
        "≥ 95 %",
        within >= 0.95,
    )


def _scrapes(rounds: int, scrapes: int, flows: int) -> Iterator[Row]:
    _say(f"scrapes with looks: {flows} flows")
    found = measures.beside_looks(flows, rounds, scrapes)
    looking, resting = (percentile(found[name].latencies, 99) for name in ("looks", "none"))
    what = f"latency p99 of a scrape with looks / without ({flows} flows)"
    yield row(what, looking / resting, 1.1)


def _forwarding(flows: int, rounds: int, packets: int) -> Iterator[Row]:
    _say(f"forwarding with looks: {flows} flows")
    without, beside = forwarding.latencies(flows, rounds, packets)
    found = statistics.median(b / a for a, b in zip(without, beside))
    what = f"latency p99 of forwarded packets with looks / without ({rounds} rounds)"
    yield row(what, found, 1.05)


def _say(text: str) -> None:
    sys.stderr.write(f"==> {text}\n")
