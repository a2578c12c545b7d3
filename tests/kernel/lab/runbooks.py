"""In a guest with systemd: the commands of runbooks that act on a whole machine.

What is run stands in tests/alerts/runbook_commands.yml; the tests hold the results against it.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

#: The states, and the commands of each: see support.runbooks.
FILE = Path("/opt/lab/runbooks.json")
_PATIENCE = 200
_LEGACY = (("legacy", "ip"), ("legacy6", "ip6"))

Result = dict[str, Any]


def load() -> list[dict[str, Any]]:
    """Return the states of this job."""
    found: list[dict[str, Any]] = json.loads(FILE.read_text())
    return found


def results(state: dict[str, Any]) -> Result:
    """Bring the host into a state; return what came of each of its commands, in their order."""
    code, output = _run(f"set -e\n{state['guest']}")
    if code:
        return {"problem": f"the state: {code}\n{output}"}
    return {"ended": [_ended(case) for case in state["cases"]]}


def _ended(case: dict[str, Any]) -> Result:
    before = _made()
    code, output = _run(case["line"])
    return {
        "code": code,
        "output": output,
        "made": sorted(_made() - before),
        "shown": {command: _run(command)[1] for command in case["then"]},
    }


def _run(line: str) -> tuple[int, str]:
    """Run a line of shell; return its exit code, and what it said.

    It is Debian's shell: that of busybox would run its own grep and sysctl.
    """
    done = subprocess.run(
        ["dash", "-c", line],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def _made() -> set[str]:
    """Return the modules and tables that are present; to ask nft would load a module."""
    modules = {line.split()[0] for line in Path("/proc/modules").read_text().splitlines()}
    found = {f"module {name}" for name in modules}
    for label, family in _LEGACY:
        names = Path(f"/proc/net/{family}_tables_names")
        if names.exists():
            found |= {f"{label} {name}" for name in names.read_text().split()}
    if "nf_tables" in modules:
        found |= set(_run("nft list tables")[1].splitlines())
    return found
