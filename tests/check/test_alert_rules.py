"""The check and the alert rules say the same: by name, by severity, and on every recorded host."""

import subprocess
from pathlib import Path

import pytest
import yaml

from netfilter_exporter.check.alerts import ALERTS
from netfilter_exporter.check.findings import Severity
from support import checks, recording
from support.host import FakeHost

RULES = Path(__file__).parent.parent.parent / "alerts" / "netfilter.rules.yml"

#: Minutes of unchanging samples: longer than any alert waits.
DURATION = 18

#: A warning beside the critical one of the same name is inhibited, and not found.
WORST = """
  group by (alertname, severity) (ALERTS{alertstate="firing",severity="critical"})
  or
  group by (alertname, severity) (ALERTS{alertstate="firing",severity!="critical"})
  unless on (alertname) ALERTS{alertstate="firing",severity="critical"}
"""

CONFIGURATIONS = {"auto": "", "required": "nat: {ipv4: required, ipv6: none}"}


def rules():
    """Return every rule of the file."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_names_and_severities_are_the_same():
    """Each alert of the rules is known to the check, with the same severities, and no other is."""
    of_rules = {}
    for rule in rules():
        if "alert" in rule:
            of_rules.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    of_check = {alert.name: {severity.value for severity in alert.severities} for alert in ALERTS}
    assert of_check == of_rules


def test_each_alert_is_registered_once():
    """The table has no name twice, and no severity that is none."""
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)
    assert all(Severity.UNKNOWN not in alert.severities for alert in ALERTS)


def with_instance(line):
    """Return a sample of one target, as a scrape makes it of a line of a page."""
    name, _, rest = line.partition("{")
    if not rest:
        name, value = line.rsplit(" ", 1)
        return f'{name}{{job="n",instance="i"}} {value}'
    return f'{name}{{job="n",instance="i",{rest}'


KERNELS = list(dict.fromkeys(name.split("/")[0] for name in recording.names()))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_the_rules_fire_what_the_check_finds(configuration, kernel, tmp_path):
    """On every recorded host that stays as it is, the alerts that fire are those that are found."""
    tests = []
    for name in recording.names():
        if not name.startswith(f"{kernel}/"):
            continue
        host = FakeHost(name, str(tmp_path / name.replace("/", "-")))
        run = checks.scrape(host, CONFIGURATIONS[configuration])
        found = {
            (finding.alert, finding.severity.value) for finding in checks.report_on(run).broken
        }
        tests.append(rule_test(name, checks.page_of(run), found))
    file = tmp_path / "rules.test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": tests}))
    ran = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def rule_test(name, page, found):
    """Return a promtool test: `found` are the alerts, with their severity, that are to fire."""
    return {
        "name": name,
        "interval": "1m",
        "input_series": [
            {"series": sample.rsplit(" ", 1)[0], "values": f"{sample.rsplit(' ', 1)[1]}x{DURATION}"}
            for sample in map(with_instance, page.lines())
        ],
        "promql_expr_test": [
            {
                "expr": WORST,
                "eval_time": f"{DURATION - 1}m",
                "exp_samples": [
                    {"labels": f'{{alertname="{alert}",severity="{severity}"}}', "value": 1}
                    for alert, severity in sorted(found)
                ],
            }
        ],
    }
