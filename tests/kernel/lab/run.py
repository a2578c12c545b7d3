"""Runs scenarios on kernels, and judges them.

    python -m lab.run [--suite SUITE]... [--here] [SCENARIO]...

prints the matrix, and what took longest. Without a scenario all are run, without a suite on every
kernel and on this one.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lab import build, kernels, machine, matrix, results
from lab.build import Builder
from lab.kernels import Kernel
from lab.scenario import CTNETLINK, DENSE, SCRAPES, Scenario, find, load
from lab.verdict import Outcome, Verdict, judge, parse_page
from support import firing, limit
from support.series import Recorded

#: Seconds without a word from a guest: on a busy machine one takes minutes to boot.
_PATIENCE = 600.0
#: Kernels at a time: a guest waits for a quarter of its time.
JOBS = (os.cpu_count() or 1) + 1
_BOOTS = 12  #: in one run of one kernel, at the most
_SLOWEST = 20  #: whose time is printed

HERE = "here"  #: stands for the running kernel
_NOTHING_KEPT = results.Kept()


class Collected(NamedTuple):
    """What was seen of scenarios on one kernel; None where it cannot be brought into a state."""

    label: str
    chosen: dict[str, Scenario | None]
    found: dict[str, dict[str, Any]]
    seconds: float

    def hosts(self) -> dict[str, Recorded]:
        """Return the pages of those that came to an end."""
        return {
            name: Recorded(
                [parse_page(text) for text in result["before"]],
                [parse_page(text) for text in result["after"]],
            )
            for name, result in self.found.items()
            if _is_complete(result)
        }


class Column(NamedTuple):
    """What came of all scenarios on one kernel."""

    label: str
    outcomes: dict[str, Outcome]
    seconds: float
    took: dict[str, float]  #: seconds by scenario, of those that came to an end


def on_suite(builder: Builder, suite: str, names: Sequence[str], folder: Path) -> Column:
    """Run scenarios on the kernel of a suite, and judge them."""
    return _judged(collect_suite(builder, suite, names, folder), folder / suite)


def collect_suite(
    builder: Builder,
    suite: str,
    names: Sequence[str],
    folder: Path,
    kept: results.Kept = _NOTHING_KEPT,
    *,
    slow: bool = False,
) -> Collected:
    """Run scenarios on the kernel of a suite, in as few boots as possible; not those in `kept`."""
    began = time.monotonic()
    kernel = builder.kernel(suite)
    chosen = _chosen(names, kernel.version, slow=slow)
    found = _found(kept, suite, names)
    pending = [name for name in names if chosen[name] and name not in found]
    # The ones that leave nothing to work with come last.
    pending.sort(key=lambda name: find(name).ruins_boot)
    for number in range(_BOOTS):
        if not pending:
            break
        place = folder / f"{suite}-{number}"
        place.mkdir(parents=True)
        found.update(_boot(builder, kernel, pending, place, kept))
        pending = [name for name in pending if name not in found]
    return Collected(kernel.label, chosen, found, time.monotonic() - began)


def _boot(
    builder: Builder, kernel: Kernel, names: Sequence[str], folder: Path, kept: results.Kept
) -> dict[str, dict[str, Any]]:
    """Return the results of one boot; the scenario in which it died has one too."""
    found: dict[str, dict[str, Any]] = {}
    current = names[0]
    image = builder.image(kernel, names, folder)
    try:
        for line in machine.boot(kernel, image, folder, _PATIENCE):
            word, _, rest = line.partition(" ")
            if word == "begin":
                current = rest
            elif word == "result":
                found[current] = results.unpacked(rest)
                _keep(kept, kernel.suite, current, found[current])
    except machine.Crashed as error:
        console = f"the guest died: {error}"
        found[current] = {"before": [], "after": [], "flows": [[], []], "problems": [console]}
    image.unlink()
    return found


def on_this_kernel(names: Sequence[str], folder: Path) -> Column:
    """Run scenarios in a namespace of the running kernel, and judge them."""
    return _judged(collect_here(names), folder / HERE)


def collect_here(names: Sequence[str], kept: results.Kept = _NOTHING_KEPT) -> Collected:
    """Run scenarios in a namespace of the running kernel, those that need no boot."""
    began = time.monotonic()
    version = tuple(map(int, os.uname().release.split(".")[:2]))
    chosen = _chosen(names, version)
    chosen = {
        name: None if each is None or each.needs_boot else each for name, each in chosen.items()
    }
    found = _found(kept, HERE, names)
    for name, scenario in chosen.items():
        if scenario and name not in found:
            with limit.dense(DENSE) if name.endswith(CTNETLINK) else limit.kept():
                found[name] = _run_here(name)
            _keep(kept, HERE, name, found[name])
    return Collected(".".join(map(str, version)), chosen, found, time.monotonic() - began)


def _is_complete(result: Mapping[str, Any]) -> bool:
    return len(result["after"]) == SCRAPES[1]


def _found(kept: results.Kept, kernel: str, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {name: result for name, result in kept.load(kernel).items() if name in names}


def _keep(kept: results.Kept, kernel: str, name: str, result: dict[str, Any]) -> None:
    if _is_complete(result):  # others are run again
        kept.add(kernel, name, result)


def _took(found: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {name: result["seconds"] for name, result in found.items() if "seconds" in result}


def _run_here(name: str) -> dict[str, Any]:
    prefix = f"lab{os.getpid()}"
    path = os.pathsep.join(map(str, (build.TESTS / "kernel", *filter(None, sys.path))))
    guest = (sys.executable, "-m", "lab.guest", "--here", name, prefix)
    try:
        for command in (f"ip netns add {prefix}", f"ip -n {prefix} link set lo up"):
            subprocess.run(command.split(), check=True)
        done = subprocess.run(
            ["ip", "netns", "exec", prefix, *guest],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=300,
        )
    finally:
        subprocess.run(["ip", "netns", "del", prefix], check=False)
    return results.unpacked(done.stdout)


def _chosen(
    names: Sequence[str], version: tuple[int, ...], *, slow: bool = False
) -> dict[str, Scenario | None]:
    return {name: find(name).on(version, slow=slow) for name in names}


def _judged(collected: Collected, folder: Path) -> Column:
    folder.mkdir(parents=True)
    fired = firing.evaluate(collected.hosts(), folder)
    outcomes = {}
    for name, scenario in collected.chosen.items():
        if scenario is None:
            outcomes[name] = Outcome(Verdict.SKIPPED, [])
        elif name in collected.found:
            outcomes[name] = judge(scenario, collected.found[name], fired.get(name))
        else:
            outcomes[name] = Outcome(Verdict.BROKEN, ["it was not run"])
    return Column(collected.label, outcomes, collected.seconds, _took(collected.found))


def main(argv: Sequence[str] | None = None) -> int:
    """Run and print; return 1 where a cell is not as it should be."""
    parser = argparse.ArgumentParser(prog="lab.run")
    parser.add_argument("--suite", action="append", choices=kernels.SUITES)
    parser.add_argument("--here", action="store_true")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("scenarios", nargs="*")
    chosen = parser.parse_args(argv)
    everything = not chosen.suite and not chosen.here
    suites = kernels.SUITES if everything else chosen.suite or ()
    names = chosen.scenarios or list(load())
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        columns = run_all(suites, names, folder, chosen.jobs, here=everything or chosen.here)
    sys.stdout.write(matrix.table(columns))
    failed = False
    for column in columns:
        slowest = sorted(column.took.items(), key=lambda item: -item[1])[:_SLOWEST]
        times = ", ".join(f"{name} {seconds:.0f}" for name, seconds in slowest)
        sys.stdout.write(f"{column.label}: {column.seconds:.0f} s, the longest: {times}\n")
        for name, outcome in column.outcomes.items():
            for reason in outcome.reasons:
                failed = True
                sys.stdout.write(f"{column.label} {name}: {outcome.verdict.value}: {reason}\n")
    return int(failed)


def run_all(
    suites: Sequence[str], names: Sequence[str], folder: Path, jobs: int, *, here: bool
) -> list[Column]:
    """Run on every suite, `jobs` at a time, and on this kernel."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = []
        if suites:
            builder = Builder(folder)
            futures = [pool.submit(on_suite, builder, suite, names, folder) for suite in suites]
        columns = [on_this_kernel(names, folder)] if here else []
        return [*(future.result() for future in futures), *columns]


if __name__ == "__main__":
    sys.exit(main())
