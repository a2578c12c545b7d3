"""Boots a host with systemd, deploys what is under test as README says, and returns the facts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lab import build, machine, results, runbooks, systemd
from lab.build import Builder
from support import debian_package
from support.runbooks import GUEST, states

SUITE = "bookworm"
_UNITS = build.TESTS.parent / "exporter/deploy/systemd"
#: Seconds without a word from the guest; a step takes 5 to 20.
_PATIENCE = 900.0

CRASH = "crash"  #: where the guest's last words are, if it died

Facts = dict[str, dict[str, Any]]


def _runbooks() -> list[dict[str, Any]]:
    """Return the states that a guest is for, with the commands that are run in it."""
    return [
        {
            "runbook": state.runbook,
            "guest": state.guest,
            "last": state.last,
            "cases": [{"line": case.line, "then": list(case.then)} for case in state.of(GUEST)],
        }
        for state in states()
        if state.of(GUEST)
    ]


def facts(folder: Path) -> Facts:
    """Return what each step of lab.administrator found; raises what building raises."""
    builder = Builder(folder, systemd.WORLD)
    kernel = builder.kernel(SUITE)
    lab = builder.copy_lab(folder)
    (lab / runbooks.FILE.name).write_text(json.dumps(_runbooks()))
    shutil.copytree(_UNITS, folder / "job/opt/deploy")
    if not debian_package.lacking():
        built = debian_package.build(folder / "package").parent
        (package,) = built.glob("*.deb")
        shutil.copy(package, folder / "job/opt/package.deb")
    image = builder.packed(kernel, folder)
    found: Facts = {}
    try:
        for line in machine.boot(kernel, image, folder, _PATIENCE):
            word, _, rest = line.partition(" ")
            if word == "fact":
                name, _, packed = rest.partition(" ")
                found[name] = results.unpacked(packed)
    except machine.Crashed as error:
        found[CRASH] = {"console": str(error)}
    image.unlink()
    return found
