"""Brings kernels into states in which connections fail, over both sources of flows.

    python -m lab.outcome [--suite SUITE]... [--here] [--keep FOLDER] [--readme] [SCENARIO]...

prints when which alert fires: after a day of history, and without history where the configuration
says `nat: required`; and that healthy twins stay silent. Without a suite all kernels are run, and
this one. With --here alone, the conntrack table of this kernel is resized for some minutes. With
--keep, each result is kept when it is finished, as FOLDER/SUITE/SCENARIO: the next run with that
folder goes on from there. Delete a file to have its scenario run again.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lab import kernels, results, run
from lab.build import Builder
from lab.scenario import CTNETLINK, PROCFS, find
from lab.verdict import is_fault, judge, total
from netfilter_exporter.kernel.conntrack.flow_table import is_sparse
from support import firing, readme
from support.inhibition import Alert
from support.page import Page
from support.series import AFTERWARDS, INTERVAL, Recorded

STATES = (
    "exempt-private-network",
    "renumbered-network",
    "another-uplink",
    "mark-that-nothing-sets",
    "empty-set",
    "stale-snat",
    "dead-upstream",
)
TWINS = (
    "twin-outcome",
    "twin-outcome-changes",
    "twin-outcome-untranslated",
    "twin-outcome-nptv6",
    "twin-counters-removed",
)
SOURCES = (PROCFS, CTNETLINK)
#: When alerts are asked for.
MOMENTS = tuple(range(0, AFTERWARDS + 1, INTERVAL))
#: Unanswered connections mean something only where they usually are answered.
NEEDS_HISTORY = frozenset({"NetfilterNatUnanswered"})
IDLE = "NetfilterNatIdle"

#: Seconds from the first scrape after a fault until an alert fires.
Times = Mapping[Alert, int]


class Hits(NamedTuple):
    """What NAT rules match in a minute; None where they are not counted."""

    before: float | None
    after: float | None


class Timed(NamedTuple):
    """When alerts fire on one kernel, by scenario and source."""

    label: str
    usual: Mapping[str, Times]  #: after a day of history
    inhibited: Mapping[str, Times]  #: too, while another alert inhibits them
    required: Mapping[str, Times]  #: without history, the role is configured
    hits: Mapping[str, Hits]
    wrong: list[str]


def timed(collected: run.Collected, folder: Path) -> Timed:
    """Evaluate the alerts on the pages of one kernel, and compare them with what scenarios say."""
    usual, required = folder / "usual", folder / "required"
    for place in (usual, required):
        place.mkdir(parents=True)
    hosts = collected.hosts()
    expected = {name: Recorded(*map(_expected, host)) for name, host in hosts.items()}
    ask = {"moments": MOMENTS, "evaluation": INTERVAL}
    fired = firing.evaluate(hosts, usual, **ask)
    afresh = firing.evaluate(expected, required, **ask, history=False)
    found = Timed(
        collected.label,
        {name: _times(each.before, each.after) for name, each in fired.items()},
        {name: _times((), each.inhibited) for name, each in fired.items()},
        {name: _times(each.before, each.after) for name, each in afresh.items()},
        {name: Hits(*map(_hits_a_minute, host)) for name, host in hosts.items()},
        [],
    )
    found.wrong.extend(_wrong(collected, found, hosts))
    return found


def _expected(pages: Sequence[Page]) -> list[Page]:
    """Return the pages with what `nat: {ipv4: required}` adds to them."""
    return [page.adding("nat_expected", 1, family="ipv4") for page in pages]


def _times(before: Iterable[Alert], after: Iterable[Iterable[Alert]]) -> Times:
    first: dict[Alert, int] = dict.fromkeys(before, -1)
    for moment, alerts in zip(MOMENTS, after):
        for alert in alerts:
            first.setdefault(alert, moment)
    return first


def _hits_a_minute(pages: Sequence[Page]) -> float | None:
    first, last = (total(page, "nat_translations_total") for page in (pages[0], pages[-1]))
    if first is None or last is None:
        return None
    return (last - first) / (len(pages) - 1) * 60 / INTERVAL


def _wrong(collected: run.Collected, found: Timed, hosts: Mapping[str, Recorded]) -> Iterator[str]:
    """Yield what is not as it should be."""
    for name, scenario in collected.chosen.items():
        if scenario is None:
            continue
        if name not in hosts:
            yield f"{name}: it did not come to an end: {collected.found.get(name)}"[-2000:]
            continue
        yield from (f"{name}: {text}" for text in judge(scenario, collected.found[name], None)[1])
        for how, times, expected in (
            ("history", found.usual, scenario.alerts),
            ("nat: required", found.required, scenario.alerts - NEEDS_HISTORY),
        ):
            alerts = {alert.name for alert in times[name]}
            if alerts != expected:
                yield f"{name}, {how}: {sorted(alerts)}, expected {sorted(expected)}"
        silent = scenario.inhibited - {alert.name for alert in found.inhibited[name]}
        yield from (f"{name}: no alert: {alert}" for alert in sorted(silent))
        if is_fault(scenario) and _dense(hosts[name].after[-1]) is not scenario.dense:
            yield f"{name}: flows were read from the other source"


def _dense(page: Page) -> bool:
    """Return whether the exporter reads this host's flows from ctnetlink."""
    entries, buckets = (total(page, f"conntrack_{name}") for name in ("entries", "buckets"))
    return buckets is not None and not is_sparse(int(entries or 0), int(buckets))


# -- tables ----------------------------------------------------------------------------------------


def table(kernels_: Sequence[Timed]) -> str:
    """Return when which alert fires, in Markdown."""
    head = "| state | alert | severity | source | "
    lines = [head + " | ".join(each.label for each in kernels_) + " |"]
    lines.append("|---" * (4 + len(kernels_)) + "|")
    for state in _run(kernels_, STATES):
        names = [state + source for source in SOURCES]
        alerts = {
            alert for each in kernels_ for name in names for alert in each.usual.get(name, {})
        }
        for alert in sorted(alerts, key=lambda alert: (alert.severity, alert.name)):
            for name in names:
                cells = [_cell(each, name, alert) for each in kernels_]
                about = f"{find(state).about} | {alert.name} | {alert.severity}"
                lines.append(f"| {about} | {name.partition('@')[2]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def twins(kernels_: Sequence[Timed]) -> str:
    """Return which healthy hosts stay silent, in Markdown."""
    lines = ["| twin | source | " + " | ".join(each.label for each in kernels_) + " |"]
    lines.append("|---" * (2 + len(kernels_)) + "|")
    for twin in _run(kernels_, TWINS):
        for source in SOURCES:
            cells = [_silence(each, twin + source) for each in kernels_]
            lines.append(f"| {find(twin).about} | {source[1:]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def hits(kernels_: Sequence[Timed]) -> str:
    """Return what the rules of each state match, and when NatIdle fires, in Markdown."""
    lines = ["| state | " + " | ".join(each.label for each in kernels_) + " |"]
    lines.append("|---" * (1 + len(kernels_)) + "|")
    for state in _run(kernels_, (*STATES, *TWINS)):
        source = CTNETLINK if find(state).dense else PROCFS  # hits are the same with both
        cells = [_idle(each, state + source) for each in kernels_]
        lines.append(f"| {find(state).about} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _idle(kernel: Timed, name: str) -> str:
    """Return the hits a minute, and when NatIdle fires, whether or not another inhibits it."""
    if name not in kernel.usual:
        return "-"
    both = (kernel.inhibited[name], kernel.usual[name])
    times = [time for each in both for alert, time in each.items() if alert.name == IDLE]
    before, after = ("none" if n is None else f"{n:.0f}" for n in kernel.hits[name])
    return f"{before} \N{RIGHTWARDS ARROW} {after}, {_minutes(min(times, default=None))}"


def _run(kernels_: Sequence[Timed], names: Sequence[str]) -> list[str]:
    ran = {name.partition("@")[0] for each in kernels_ for name in each.usual}
    return [name for name in names if name in ran]


def _cell(kernel: Timed, name: str, alert: Alert) -> str:
    """Return the time with history, and the one with `nat: required`."""
    if name not in kernel.usual:
        return "-"
    times = (each[name].get(alert) for each in (kernel.usual, kernel.required))
    return ", ".join(map(_minutes, times))


def _minutes(time: int | None) -> str:
    return "never" if time is None else f"{time // 60}:{time % 60:02}"


def _silence(kernel: Timed, name: str) -> str:
    if name not in kernel.usual:
        return "-"
    alerts = {**kernel.usual[name], **kernel.required[name]}
    return ", ".join(sorted(alert.name for alert in alerts)) or "silent"


# -- the command -----------------------------------------------------------------------------------


def collect(
    suites: Sequence[str],
    names: Sequence[str],
    folder: Path,
    kept: results.Kept,
    jobs: int,
    *,
    here: bool,
) -> list[run.Collected]:
    """Run on every suite, `jobs` at a time, and on this kernel; return what came of each."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = []
        if suites:
            builder = Builder(folder)
            collect_suite = functools.partial(run.collect_suite, builder, slow=True)
            futures = [pool.submit(collect_suite, suite, names, folder, kept) for suite in suites]
        columns = [run.collect_here(names, kept)] if here else []
        return [*(future.result() for future in futures), *columns]


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; return 1 where an alert fires that should not, or does not."""
    parser = argparse.ArgumentParser(prog="lab.outcome")
    parser.add_argument("--suite", action="append", choices=kernels.SUITES)
    parser.add_argument("--here", action="store_true")
    parser.add_argument("--jobs", type=int, default=run.JOBS)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="of results, to go on from")
    parser.add_argument("--readme", action="store_true", help="write the tables into README.md")
    parser.add_argument("scenarios", nargs="*", help="NAME, or NAME@SOURCE for one source")
    chosen = parser.parse_args(argv)
    everything = not chosen.suite and not chosen.here
    names = [
        name + at
        for name in chosen.scenarios or (*STATES, *TWINS)
        for at in ([""] if "@" in name else SOURCES)
    ]
    suites = kernels.SUITES if everything else chosen.suite or ()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        here = everything or chosen.here
        kept = results.Kept(chosen.keep)
        collected = collect(suites, names, folder, kept, chosen.jobs, here=here)
        found = [timed(each, folder / f"alerts-{each.label}") for each in collected]
    texts = {"outcome": table(found), "silent": twins(found), "hits": hits(found)}
    for name, text in texts.items():
        sys.stdout.write(f"{text}\n")
        if chosen.readme:
            readme.write(name, text)
    for kernel, each in zip(found, collected):
        sys.stdout.write(f"{kernel.label}: {each.seconds:.0f} s\n")
        for text in kernel.wrong:
            sys.stdout.write(f"{kernel.label} {text}\n")
    return int(any(kernel.wrong for kernel in found))


if __name__ == "__main__":
    sys.exit(main())
