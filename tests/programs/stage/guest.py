"""Runs a program on a host of its own, and tells what came of it.

    python -m stage.guest ROOT PROGRAM STATE

In namespaces of its own, in which it is the first process: what daemons leave ends with it. What it
prints is one line that `results.packed` makes.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.guest import run_scenario
from lab.results import packed
from lab.scenario import Scenario
from stage import root
from stage.host import Host
from stage.listing import differences
from stage.program import HEALTHY, Program, load
from support import inside
from support.page import Page

_PATIENCE, _PAUSE = 40.0, 0.5
#: Kinds of flows that come from behind the host.
_OUTBOUND = {
    "ipv4": frozenset({"out", "guest", "outbound"}),
    "ipv6": frozenset({"out6", "guest6"}),
}
#: Without configuration, but for the namespace, which is not the host's here.
_NOTHING = "network_namespace: any\n"


def run(folder: Path, program: Program, state: str) -> dict[str, Any]:
    """Run a state; return what `run_scenario` does, and of a healthy host the page without role."""
    scenario = program.state(state)
    pages: list[str] = []
    if state == HEALTHY:
        check = functools.partial(_checked, program, pages)
        scenario = dataclasses.replace(scenario, check=check)
    own = root.private(folder)
    result = run_scenario(scenario, functools.partial(Host, own))
    return {**result, "without": pages}


def _checked(program: Program, pages: list[str], host: Host) -> list[str]:
    """Return what is wrong with a healthy host, with its role and without; add a page of it."""
    with_role = inside.check(program.configuration)
    without = inside.check(_NOTHING)
    pages.append(without.page)
    problems = [
        f"check, {how}: {alert}: {summary}"
        for how, checked in (("with the role", with_role), ("without", without))
        for alert, severity, summary in checked.found
        if severity != "info"
    ]
    problems += differences(host, Page(without.page))
    return [*problems, *_untranslated(program.healthy, host)]


def _untranslated(scenario: Scenario, host: Host) -> Iterator[str]:
    """Yield where the page does not say that connections from behind the host are translated."""
    for family, kinds in _OUTBOUND.items():
        kind = min(kinds & scenario.works.keys(), default=None)
        if kind and not _are_seen(family, kind, host):
            yield f"no {family} connection is translated and answered, says the page"


def _are_seen(family: str, kind: str, host: Host) -> bool:
    """Start flows until a sample of the table has new ones; return whether the page shows them.

    On a busy machine, all others may have come before the first sample.
    """
    assert host.exporter
    end = time.monotonic() + _PATIENCE
    labels = {"family": family, "translated": "source", "replied": "yes"}
    while not Page(host.exporter.scrape("flows")).total("flows_new_total", **labels):
        if time.monotonic() > end:
            return False
        time.sleep(_PAUSE)
        host.flows(kind, expected=True)
    return True


def main(folder: str, name: str, state: str) -> int:
    """Run a state and print its result; what programs print goes elsewhere."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    output.write(packed(run(Path(folder), load()[name], state)))
    output.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
