"""The runbooks: one for each alert, each with the parts that a person looks for at night."""

import re
from pathlib import Path

import pytest

from netfilter_exporter import assets, collectors, exporter_metrics
from netfilter_exporter.collectors.base import PREFIX

FOLDER = Path(assets.folder(), "alerts")
RUNBOOKS = sorted((FOLDER / "runbooks").glob("Netfilter*.md"))
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation", "False positives"]
ALERTS = {
    rule["alert"]
    for rule in assets.rules_of(assets.load_rules((FOLDER / "netfilter.rules.yml").read_bytes()))
    if "alert" in rule
}

each = pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)


def test_every_alert_has_a_runbook_and_every_runbook_an_alert():
    """Neither side has an orphan."""
    assert {path.stem for path in RUNBOOKS} == ALERTS


@each
def test_a_runbook_has_its_parts(path):
    """The alert's name, then Meaning, Impact, Diagnosis, Mitigation and False positives."""
    text = path.read_text()
    assert text.startswith(f"# {path.stem}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS
    for body in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]:
        assert body.strip()


@each
def test_what_a_runbook_names_exists(path):
    """Links lead to runbooks, names of alerts are alerts, metrics and thresholds are there."""
    text = path.read_text()
    assert set(re.findall(r"\]\((\w+)\.md\)", text)) <= ALERTS
    assert set(re.findall(r"\bNetfilter[A-Z]\w+", text)) <= ALERTS
    rows = [*exporter_metrics.ROWS, *(row for c in collectors.load().values() for row in c.metrics)]
    assert set(re.findall(r"\bnetfilter_\w+\b(?=[^ ]*[`{\[)])", text)) <= {
        *(PREFIX + row.name for row in rows),
        "netfilter_exporter",
    }
    thresholds = assets.thresholds(assets.load_rules((FOLDER / "netfilter.rules.yml").read_bytes()))
    assert set(re.findall(r"--threshold (\w+)=", text)) <= thresholds.keys()


@each
def test_commands_can_be_pasted(path):
    """Blocks of commands are closed and say that they are shell."""
    fences = re.findall(r"^ *```(.*)$", path.read_text(), re.MULTILINE)
    assert len(fences) % 2 == 0
    assert all(
        opening == "sh" and not closing for opening, closing in zip(fences[::2], fences[1::2])
    )


@each
def test_retired_and_invented_names_are_called_so(path):
    """A runbook never tells to set a name that no mainline kernel ever had without saying so."""
    text = path.read_text()
    for name in ("nf_conntrack_enable", "nf_conntrack_ipv4_max"):
        if name in text:
            assert re.search(r"never existed|ever had it", text)


@each
def test_diagnosis_changes_nothing(path):
    """No command of it makes a legacy table, and none takes ``-n``, a filter, for numbers.

    A tool of iptables-legacy that is given a table makes it; iptables-legacy-save without one lists
    those that are there.
    """
    diagnosis = path.read_text().partition("## Diagnosis")[2].partition("\n## ")[0]
    commands = "".join(re.findall(r"^ *```sh\n(.*?)^ *```$", diagnosis, re.MULTILINE | re.DOTALL))
    assert not re.search(r"legacy(?:-save)?\s+-", re.sub(r"legacy-save -c", "", commands))
    assert not re.search(r"conntrack -L(?: -\w+)* -n\b", commands)
