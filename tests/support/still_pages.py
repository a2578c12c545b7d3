"""Pages that stay as they are, through the alert rules."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from support.page import Page

RULES = Path(__file__).parents[2] / "alerts" / "netfilter.rules.yml"

#: Minutes of unchanging samples: longer than any alert waits.
DURATION = 18

#: A warning beside the critical one of the same name is inhibited, and not found.
WORST = """
  group by (alertname, severity) (ALERTS{alertstate="firing",severity="critical"})
  or
  group by (alertname, severity) (ALERTS{alertstate="firing",severity!="critical"})
  unless on (alertname) ALERTS{alertstate="firing",severity="critical"}
"""

Alerts = Iterable[tuple[str, str]]  #: name and severity


def rule_test(name: str, page: Page, alerts: Alerts) -> Mapping[str, Any]:
    """Return a promtool test: `alerts` are those that fire, and no others."""
    expected = {f'{{alertname="{alert}",severity="{severity}"}}' for alert, severity in alerts}
    return _test(name, _series(page, "i"), WORST, expected)


def fleet_test(name: str, hosts: Mapping[str, tuple[Page, Alerts]]) -> Mapping[str, Any]:
    """Return the promtool test of many hosts at once, which costs little more than that of one."""
    series = [each for host, (page, _) in hosts.items() for each in _series(page, host)]
    expression = (
        'group by (instance, alertname, severity) (ALERTS{alertstate="firing", instance!=""})'
    )
    expected = {
        f'{{alertname="{alert}",instance="{host}",severity="{severity}"}}'
        for host, (_, alerts) in hosts.items()
        for alert, severity in alerts
    }
    return _test(name, series, expression, expected)


def _test(
    name: str, series: list[Mapping[str, str]], expression: str, expected: Iterable[str]
) -> Mapping[str, Any]:
    samples = [{"labels": labels, "value": 1} for labels in sorted(expected)]
    check = {"expr": expression, "eval_time": f"{DURATION - 1}m", "exp_samples": samples}
    return {
        "name": name,
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [check],
    }


def _series(page: Page, instance: str) -> list[Mapping[str, str]]:
    split = (_with_instance(line, instance).rsplit(" ", 1) for line in page.lines())
    return [{"series": series, "values": f"{value}x{DURATION}"} for series, value in split]


def run(tests: Iterable[Mapping[str, Any]], folder: Path) -> str:
    """Run promtool tests; return what fails, or nothing."""
    file = folder / "rules.test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": list(tests)}))
    ran = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    return ran.stdout + ran.stderr if ran.returncode else ""


def _with_instance(line: str, instance: str) -> str:
    """Return a sample of one target, as a scrape makes it of a line of a page."""
    name, _, rest = line.partition("{")
    if not rest:
        name, value = line.rsplit(" ", 1)
        return f'{name}{{job="n",instance="{instance}"}} {value}'
    return f'{name}{{job="n",instance="{instance}",{rest}'
