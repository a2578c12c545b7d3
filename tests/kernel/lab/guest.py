"""Runs scenarios, and tells what came of each: in a guest, or in a namespace of this kernel.

    python -m lab.guest JOB.json OUTPUT
    python -m lab.guest --here SCENARIO PREFIX

The job is a list of scenarios, or a state that `lab.witness` records. Each result is one line that
`results.packed` makes, after one that says what begins. The second form runs one scenario in the
network namespace that it is started in.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Callable, TextIO

from lab import witness
from lab.exporter import Exporter
from lab.results import packed
from lab.router import ROUTER_WAN, Router, flush, loaded, unload
from lab.scenario import SCRAPES, Scenario, find

_CLEARING = 10.0  #: seconds for namespaces to go and for modules to become free
_PREFIX = "lab"
_WARM_UPS = 20


def run_scenario(scenario: Scenario, build: Callable[[], Router]) -> dict[str, Any]:
    """Run one scenario on the host that `build` makes; return pages, flows and what went wrong."""
    result: dict[str, Any] = {"before": [], "after": [], "flows": [[], []], "problems": []}
    began = time.monotonic()
    router, exporter = None, None
    try:
        router = build()
        scenario.setup(router)
        exporter = _start(scenario, router)
        router.exporter = exporter
        _warm_up(scenario, exporter)
        _watch(scenario, router, exporter, result, 0)
        if scenario.fault:
            scenario.fault(router)
        _watch(scenario, router, exporter, result, 1)
        if scenario.check:
            result["problems"] += scenario.check(router)
    except Exception:
        result["problems"].append(traceback.format_exc())
    finally:
        if exporter:
            result["log"] = exporter.log()
            exporter.close()
        if router:
            router.close()
    result["seconds"] = time.monotonic() - began
    return result


def _router(scenario: Scenario, prefix: str, *, emulated: bool = True) -> Router:
    return Router(prefix, network=scenario.network, emulated=emulated, dense=scenario.dense)


def _start(scenario: Scenario, router: Router) -> Exporter:
    """Start the exporter; where there is a server, what scrapes is there."""
    if not scenario.network or not router.scraped_by_server:
        return Exporter(scenario.flags, scenario.config)
    _, server = router.namespaces[:2]
    return Exporter(scenario.flags, scenario.config, address=ROUTER_WAN, scraper=server)


def _warm_up(scenario: Scenario, exporter: Exporter) -> None:
    """Scrape until nothing takes too long, as a large ruleset does at first on an emulated CPU.

    Where flows, hits or namespaces matter, also until there is a sample of them.
    """
    wanted = ["netfilter_flow_sample_entries "] if "flows:" in scenario.config else []
    if any(selector.startswith("nat_counted_rules") for selector in scenario.before):
        wanted.append("netfilter_nat_counted_rules{")
    if any(selector.startswith("netns_nat_rules") for selector in scenario.before):
        wanted.append("netfilter_netns_nat_rules{")
    for _ in range(_WARM_UPS):
        page = exporter.scrape()
        if all(sample in page for sample in wanted) and 'status="timeout"' not in page:
            return
        time.sleep(0.2)


def _watch(
    scenario: Scenario, router: Router, exporter: Exporter, result: dict[str, Any], phase: int
) -> None:
    """Scrape and start flows, again and again, before the fault (0) or after it (1)."""
    first = 0 if phase else -SCRAPES[0]
    for number in range(SCRAPES[phase]):
        if scenario.meanwhile:
            scenario.meanwhile(router, first + number)
        result[("before", "after")[phase]].append(exporter.scrape())
        step = {
            kind: router.flows(kind, expected=works[phase])
            for kind, works in scenario.works.items()
        }
        result["flows"][phase].append(step)


def clear(wanted: set[str]) -> list[str]:
    """Make the machine as it booted: no rules and no modules but `wanted`; return what stays."""
    end = time.monotonic() + _CLEARING
    while True:
        flush()
        unload(set(loaded()) - wanted)
        left = sorted(set(loaded()) - wanted)
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.1)


def main(job: str, output: str) -> int:
    """Run the scenarios of a job in this guest, until one leaves the machine unfit for more."""
    names = json.loads(Path(job).read_text())
    wanted = set(loaded())
    with open(output, "w") as out:
        _say(out, f"ready {os.uname().release}")
        if isinstance(names, dict):
            _say(out, f"result {packed(witness.record(names, _PREFIX))}")
            _say(out, "end")
            return 0
        for name in names:
            _say(out, f"begin {name}")
            scenario = find(name)
            result = run_scenario(scenario, functools.partial(_router, scenario, _PREFIX))
            result["oops"] = _oops()
            left = clear(wanted)
            _say(out, f"result {packed(result)}")
            if left or result["oops"] or scenario.ruins_boot:
                _say(out, f"unfit {' '.join(left)}")
                break
        _say(out, "end")
    return 0


def _say(out: TextIO, line: str) -> None:
    out.write(line + "\n")
    out.flush()


def _oops() -> str:
    """Return the kernel's complaint about itself, if there is any: a taint of D, W or L."""
    taint = int(Path("/proc/sys/kernel/tainted").read_text())
    return f"kernel tainted: {taint}" if taint & (1 << 7 | 1 << 9 | 1 << 14) else ""


def here(name: str, prefix: str) -> int:
    """Run one scenario in this namespace and print its result."""
    scenario = find(name)
    # It is meant to look at a namespace that is not the host's.
    scenario = dataclasses.replace(scenario, config=f"network_namespace: any\n{scenario.config}")
    result = run_scenario(scenario, functools.partial(_router, scenario, prefix, emulated=False))
    _say(sys.stdout, packed(result))
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "--here":
        sys.exit(here(*sys.argv[2:]))
    sys.exit(main(*sys.argv[1:]))
