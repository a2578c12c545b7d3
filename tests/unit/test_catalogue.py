"""tests/kernel/README.md: each failure mode has a proof that exists, or a reason for none."""

import re
from pathlib import Path

import pytest

from netfilter_exporter import assets, collectors
from netfilter_exporter.collectors.base import PREFIX

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
TEXT = (TESTS / "kernel/README.md").read_text()
SCENARIOS = {
    path.stem.replace("_", "-")
    for path in (TESTS / "kernel/scenarios").glob("*.py")
    if not path.name.startswith("_")
}
ROWS = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \|$", TEXT, re.MULTILINE)
ALERTS = {
    rule["alert"]
    for rule in assets.rules_of(assets.load_rules(assets.files()[assets.RULES]))
    if "alert" in rule
}
METRICS = {PREFIX + row.name for each in collectors.load().values() for row in each.metrics}

each_row = pytest.mark.parametrize(("number", "mode", "proof", "alert"), ROWS)


def test_every_mode_has_its_row():
    """The catalogue has 49 modes, in order."""
    assert [int(number) for number, *_ in ROWS] == list(range(1, 50))


@each_row
def test_what_proves_it_exists(number, mode, proof, alert):
    """Scenarios, cases and test files are there; without any, the reason stands beside it."""
    named = re.findall(r"`([a-z0-9-]+)`", proof)
    assert set(named) <= SCENARIOS, f"{number} {mode}"
    files = re.findall(r"(?:tests|alerts)/[\w/]+\.\w+", proof)
    assert all((ROOT / name).exists() for name in files), f"{number} {mode}"
    assert named or files or "every scenario" in proof or alert.startswith("out of scope")


@each_row
def test_the_alert_exists(number, mode, proof, alert):
    """An alert of ours, a reason why there is none, or why the mode is out of scope."""
    named = re.findall(r"Netfilter[A-Z]\w+", alert)
    assert set(named) <= ALERTS, f"{number} {mode} {proof}"
    assert named or re.match(r"(none|out of scope)( here)?: .{20}|whatever", alert)


def test_metrics_of_the_text_exist():
    """What the table points to is on the page, now or as DESIGN names it."""
    later = {"netfilter_nat_missing_address", "netfilter_flows_offloaded"}
    later |= {"netfilter_flows_new_total", "netfilter_flow_sample_entries"}
    assert set(re.findall(r"`(netfilter_\w+)", TEXT)) - {"netfilter_exporter"} <= METRICS | later
