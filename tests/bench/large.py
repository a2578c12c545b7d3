"""What large rulesets cost, this version and another side by side, in one run: a markdown table.

Medians of some rounds, in which both take turns. See tests/bench/run. Root; everything happens in
network namespaces that are gone afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import scale
import worlds

from support import readme

ROUNDS = 3
#: Rulesets that are replaced: one to whose changes the exporter listens, and larger ones.
RELOADS = (2_000, 20_000, 200_000)
_MB, _SECONDS, _MS = "MB", "s", "ms"


class Compared(NamedTuple):
    """A line of the table: what was measured of each version, and what it must not exceed."""

    what: str
    unit: str
    this: float
    other: float | None = None
    limit: float | None = None
    #: The limit is a multiple of what the other version takes.
    of_other: bool = False

    def cells(self) -> tuple[str, ...]:
        other = "" if self.other is None else f"{self.other:.3g} {self.unit}"
        if self.limit is None:
            return self.what, f"{self.this:.3g} {self.unit}", other, "", ""
        unit = "\N{MULTIPLICATION SIGN} the other" if self.of_other else self.unit
        value = self.this / (self.other or 1) if self.of_other else self.this
        holds = "holds" if value <= self.limit else f"**does not hold** ({value:.3g} {unit})"
        return self.what, f"{self.this:.3g} {self.unit}", other, f"≤ {self.limit:g} {unit}", holds


def rows(versions: Mapping[str, scale.Version]) -> Iterable[Compared]:
    """Yield the lines; `versions` are "this", "listening" and "the other"."""
    pair = {label: versions[label] for label in ("this", "the other")}
    yield from _starts(pair)
    yield from _changes(versions)
    yield from _steady(pair)
    yield from _reloads(versions["this"])
    yield from _busy(versions)


def _medians(
    versions: Mapping[str, scale.Version], measure: Callable[[scale.Version], float]
) -> dict[str, float]:
    found: dict[str, list[float]] = {label: [] for label in versions}
    for _ in range(ROUNDS):
        for label, version in versions.items():
            found[label].append(measure(version))
    return {label: statistics.median(values) for label, values in found.items()}


def _starts(versions: Mapping[str, scale.Version]) -> Iterable[Compared]:
    """Yield how long it takes until every collector is ok, and the most memory until then."""
    for backend, rules, seconds, memory in (
        ("iptables-nft", 20_000, None, 45),
        ("iptables-nft", 200_000, 10, 100),
        ("nft", 60_000, 10, None),
        ("legacy", 100_000, None, 80),
        ("legacy, no comments", 100_000, None, 80),
    ):
        starts: dict[str, list[scale.Start]] = {label: [] for label in versions}
        with worlds.ruled(backend, rules) as name:
            for _ in range(ROUNDS):
                for label, version in versions.items():
                    if all(start.seconds for start in starts[label]):  # it would never be
                        starts[label].append(scale.started(name, version))
        took = {
            label: statistics.median(start.seconds or scale.PATIENCE for start in made)
            for label, made in starts.items()
        }
        peak = {
            label: statistics.median(start.peak for start in made) for label, made in starts.items()
        }
        what = f"{rules} rules ({backend})"
        yield Compared(
            f"start to all collectors ok, {what}",
            _SECONDS,
            took["this"],
            took["the other"],
            seconds,
        )
        yield Compared(f"peak memory, {what}", _MB, peak["this"], peak["the other"], memory)


def _changes(versions: Mapping[str, scale.Version]) -> Iterable[Compared]:
    """Yield the CPU of a full reading, and of one after a change."""
    for rules, limit in ((20_000, 1.0), (100_000, 0.6)):
        with worlds.ruled("iptables-nft", rules) as name:
            pair = {label: versions[label] for label in ("this", "the other")}
            full = _medians(pair, lambda version: scale.first_reading(name, version) * 1000)
            this, other = full["this"], full["the other"]
            what = f"CPU of the first reading, {rules} rules"
            yield Compared(what, _MS, this, other, limit, of_other=True)
            if rules == 20_000:
                changes = scale.changed(name, versions["listening"], "iptables-nft")
                before = scale.changed(name, versions["the other"], "iptables-nft")
                what = f"CPU after a change, {rules} rules, listening"
                change = changes.change * 1000
                yield Compared(what, _MS, change, before.change * 1000, min(60, 0.3 * this))


def _steady(versions: Mapping[str, scale.Version]) -> Iterable[Compared]:
    """Yield the CPU of a scrape of 200 000 rules that do not change, and of 20."""
    found: dict[int, dict[str, float]] = {}
    for rules in (20, 200_000):
        with worlds.ruled("iptables-nft", rules) as name:
            found[rules] = {
                label: scale.steady(name, version) * 1000 for label, version in versions.items()
            }
    few, many = found[20], found[200_000]
    yield Compared("CPU of a scrape, 20 rules", _MS, few["this"], few["the other"])
    what, limit = "CPU of a scrape, 200000 rules", 1.2 * few["this"]
    yield Compared(what, _MS, many["this"], many["the other"], limit)


def _busy(versions: Mapping[str, scale.Version]) -> Iterable[Compared]:
    """Yield how many scrapes have no rules, while those change and a process takes a CPU."""
    with worlds.ruled("iptables-nft", 20_000) as name:
        found = {
            label: scale.busy(name, version, "iptables-nft") for label, version in versions.items()
        }
    scrapes = found["this"].scrapes
    what = f"scrapes of {scrapes} without their rules, 20000 rules, two changes per second"
    yield Compared(what, "", found["this"].lost, found["the other"].lost, 0)
    yield Compared(f"{what}, listening", "", found["listening"].lost, None, 0)


def _reloads(version: scale.Version) -> Iterable[Compared]:
    """Yield how much more kernel memory it takes to replace a ruleset while the exporter runs."""
    for rules in RELOADS:
        with contextlib.ExitStack() as stack:
            name = stack.enter_context(worlds.ruled("iptables-nft", rules))
            alone = min(scale.reloaded(name, "iptables-nft", rules) for _ in range(ROUNDS))
            watched = max(
                scale.reloaded_beside(name, version, "iptables-nft", rules) for _ in range(ROUNDS)
            )
        what = f"kernel memory while {rules} rules are replaced, more than without the exporter"
        yield Compared(what, _MB, watched - alone, None, 64)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("against", type=Path, help="exporter/ of another checkout")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--readme", action="store_true", help="write it into README.md here")
    kinds.add_argument("--readings", action="store_true", help="only what readings take")
    chosen = parser.parse_args(argv)
    listening = scale.Version(scale.OWN, (f"--nft.listen-max-rules={10**6}",))
    other = scale.Version(chosen.against)
    versions = {"this": scale.Version(scale.OWN), "listening": listening, "the other": other}
    lines = [("what", "this version", "the other", "target", ""), ("---",) * 5]
    for head in lines:
        scale.say(*head)
    for compared in _changes(versions) if chosen.readings else rows(versions):
        lines.append(compared.cells())
        scale.say(*lines[-1])
    if chosen.readme:
        text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        readme.write("large", f"\n{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
