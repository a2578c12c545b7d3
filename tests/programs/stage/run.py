"""Runs programs side by side, each in namespaces of its own, and judges them.

    python -m stage.run [PROGRAM[/STATE]]...

prints the matrix, how long each took, and what is wrong.
"""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from lab import results
from lab.scenario import SCRAPES
from lab.verdict import Outcome, judge, parse_page
from stage import matrix, root
from stage.program import load, states
from support import debian, firing, still_pages
from support.series import Recorded

#: At a time: programs wait for what they start.
_JOBS = (os.cpu_count() or 1) + 1
_PATIENCE = 120
#: Namespaces of networks, mounts, processes, names and messages.
_OWN = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "--ipc")
_FOLDERS = (Path(__file__).parents[1], Path(__file__).parents[2] / "kernel")

State = tuple[str, str]  #: names of a program and of its state


class Found(NamedTuple):
    """What came of the states that were run."""

    outcomes: Mapping[State, Outcome]
    without: str  #: what fires on healthy hosts without a role, or nothing
    versions: Mapping[str, Mapping[str, str]]  #: of Debian's packages, by suite
    seconds: Mapping[State, float]


def run(chosen: Sequence[State], folder: Path) -> Found:
    """Run states, and judge them; raises `debian.UnavailableError`."""
    programs = load()
    roots = _unpacked({programs[name].suite for name, _ in chosen})
    with concurrent.futures.ThreadPoolExecutor(_JOBS) as pool:
        ran = dict(zip(chosen, pool.map(lambda state: _run(roots, *state), chosen)))
    fired = firing.evaluate(_hosts(ran), folder)
    outcomes = {
        (name, state): judge(programs[name].state(state), result, fired.get(_instance(name, state)))
        for (name, state), result in ran.items()
    }
    seconds = {state: result["seconds"] for state, result in ran.items()}
    versions = {suite: debian.versions(unpacked) for suite, unpacked in roots.items()}
    return Found(outcomes, _without(ran, folder), versions, seconds)


def _unpacked(suites: Iterable[str]) -> dict[str, Path]:
    """Return the root of each suite, with the packages of all programs."""
    programs = load().values()
    return {
        suite: root.unpacked(suite, chain(*(p.packages for p in programs if p.suite == suite)))
        for suite in suites
    }


def _run(roots: Mapping[str, Path], name: str, state: str) -> dict[str, Any]:
    began = time.monotonic()
    try:
        return isolated("stage.guest", str(roots[load()[name].suite]), name, state)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        problem = f"{error}\n{error.stderr}"
        seconds = time.monotonic() - began
        return {"before": [], "after": [], "problems": [problem], "seconds": seconds}


def isolated(module: str, *arguments: str) -> dict[str, Any]:
    """Run a module in namespaces of its own; return the result that it prints."""
    path = os.pathsep.join(map(str, (*_FOLDERS, *filter(None, sys.path))))
    done = subprocess.run(
        ["unshare", *_OWN, sys.executable, "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=_PATIENCE,
    )
    return results.unpacked(done.stdout)


def _instance(name: str, state: str) -> str:
    return f"{name}/{state}"


def _hosts(ran: Mapping[State, Mapping[str, Any]]) -> dict[str, Recorded]:
    """Return the pages of each state that came to an end."""
    return {
        _instance(*state): Recorded(
            [parse_page(text) for text in result["before"]],
            [parse_page(text) for text in result["after"]],
        )
        for state, result in ran.items()
        if len(result["after"]) == SCRAPES[1]
    }


def _without(ran: Mapping[State, Mapping[str, Any]], folder: Path) -> str:
    """Return what fires on the healthy hosts where no role is configured; that has no history."""
    pages = {
        _instance(*state): (parse_page(text), ())
        for state, result in ran.items()
        for text in result.get("without", ())
    }
    return still_pages.run([still_pages.fleet_test("without a role", pages)], folder)


def wrong(found: Found) -> Iterable[str]:
    """Yield what is not as it should be."""
    for state, outcome in found.outcomes.items():
        for reason in outcome.reasons:
            yield f"{_instance(*state)}: {outcome.verdict.value}: {reason}"
    if found.without:
        yield found.without


def main(argv: Sequence[str]) -> int:
    """Run and print; return 1 where something is wrong."""
    wanted = set(argv)
    chosen = [each for each in states() if not wanted or wanted & {each[0], _instance(*each)}]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        found = run(chosen, Path(temporary))
    sys.stdout.write(matrix.table(found.outcomes, found.versions))
    for state, seconds in sorted(found.seconds.items(), key=lambda item: item[1]):
        sys.stdout.write(f"{seconds:5.1f} s {_instance(*state)}\n")
    sys.stdout.write(f"{time.monotonic() - began:5.1f} s in all\n")
    reasons = list(wrong(found))
    sys.stdout.write("".join(f"{reason}\n" for reason in reasons))
    return int(bool(reasons))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
