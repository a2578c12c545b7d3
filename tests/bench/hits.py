"""What hits of NAT rules and ports in use cost: a scrape, and the looks between scrapes.

tests/bench/run --hits [--rounds N]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import machine
import measures
from rows import Row, row

from netfilter_exporter.rules.counted import MOST_RULES, OF_CHAIN

FEW, MANY = 20, 20_000
#: Rules that have a counter, and others in the same table.
COUNTED = ((1, FEW), (FEW, FEW), (FEW, MANY), (64, FEW), (MOST_RULES - OF_CHAIN, FEW))
#: Of a scrape in milliseconds, of a large ruleset, and of ports in milliseconds a minute.
SCRAPE, LARGE, PORTS = 0.2, 1.2, 100
FLOWS, USED = 200_000, (0.3, 0.6, 0.9)
#: Ports that a rule allows: all, and a small range.
RANGES = (64512, 1000)
_SCRAPES = 20  #: in a round


class World(NamedTuple):
    """The rules of a namespace."""

    masquerades: int
    others: int


@contextlib.contextmanager
def ruled(world: World) -> Iterator[str]:
    """Make a namespace with these rules."""
    lines = ["table ip nat {", "chain others {"]
    lines += [f"ip saddr {_address(number)} accept" for number in range(world.others)]
    lines += ["}", "chain post {", "type nat hook postrouting priority 100;"]
    lines += [
        f"ip saddr {_address(number)} counter masquerade" for number in range(world.masquerades)
    ]
    lines += ["}", "}"]
    with machine.namespace("hits") as name:
        machine.run(*machine.within(name, "nft", "-f", "-"), given="\n".join(lines))
        yield name


def _address(number: int) -> str:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def scrapes(rounds: int) -> Iterator[Row]:
    """Scrape with few and with many other rules."""
    worlds = {"few": World(FEW, FEW), "many": World(FEW, MANY)}
    with contextlib.ExitStack() as stack:
        start = {
            label: functools.partial(measures.exporter, stack.enter_context(ruled(world)))
            for label, world in worlds.items()
        }
        with measures.all_of(start) as servers:
            found = measures.steady(servers, rounds, _SCRAPES)
    large = measures.ratio(found["many"].cpu, found["few"].cpu)
    yield row(f"CPU of a whole scrape, {MANY} / {FEW} other rules", large, LARGE)


def looks() -> Iterator[Row]:
    """Read counters, and look at ports."""
    costs: dict[int, float] = {}  #: of FEW rules, by others
    for number, others in COUNTED:
        with ruled(World(number, others)) as name:
            found = measures.nat_looks(name, "hits")
        assert found["rules"] == number, found
        what = f"CPU of hits in a scrape, {number} rules with a counter among {others} others"
        yield row(what, found["CPU a scrape"], SCRAPE, " ms")
        yield row("the same, of one look", found["look"], unit=" ms")
        if number == FEW:
            costs[others] = found["look"]
    yield row(f"CPU of a look at hits, {MANY} / {FEW} other rules", costs[MANY] / costs[FEW], LARGE)
    for size, used in itertools.product(RANGES, USED):
        number = round(used * size)
        with machine.conntrack_limit(FLOWS * 5 // 4), machine.namespace("ports") as name:
            found = measures.nat_looks(name, "ports", str(FLOWS), str(number), str(size))
        about = f"{used * 100:.0f} % of {size} in use, {found['ratio'] * 100:.1f} % are reported"
        what = f"CPU a minute, ports among {FLOWS} flows: {about}"
        yield row(what, found["CPU a minute"], PORTS, " ms")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return 1 where a target does not hold."""
    parser = argparse.ArgumentParser(prog="tests/bench/run --hits")
    parser.add_argument("--rounds", type=int, default=20, help=f"of {_SCRAPES} scrapes each")
    chosen = parser.parse_args(argv)
    held = True
    for each in (*scrapes(chosen.rounds), *looks()):
        held &= each.holds is not False
        sys.stdout.write(f"{each.what}: {each.value} {each.target}\n")
    return int(not held)


if __name__ == "__main__":
    sys.exit(main())
