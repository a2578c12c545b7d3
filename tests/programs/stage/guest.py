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
from pathlib import Path
from typing import Any

from lab.guest import run_scenario
from lab.results import packed
from stage import root
from stage.host import Host
from stage.listing import differences
from stage.program import HEALTHY, Program, load
from support import inside
from support.page import Page

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
    return [*problems, *differences(host, Page(without.page))]


def main(folder: str, name: str, state: str) -> int:
    """Run a state and print its result; what programs print goes elsewhere."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    output.write(packed(run(Path(folder), load()[name], state)))
    output.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
