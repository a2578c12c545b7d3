"""Documents: their links lead somewhere, and the README is read to its end."""

import re
import subprocess

import pytest

from lab.scenario import load
from support.wheel import ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")
MATRIX = re.compile(r"^\| (\*\*.+)$", re.MULTILINE)
FENCED = re.compile(r"```.*?```", re.DOTALL)


def documents():
    """Return all documents that people read; where there is no git, of the usual folders."""
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    found = listed or [str(p.relative_to(ROOT)) for p in ROOT.glob("[!.]*/**/*.md")] + ["README.md"]
    return sorted(found)


def anchors(text):
    """Return the anchors of the headings of a document, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", text), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("name", documents())
def test_links_lead_somewhere(name):
    """To a file that is there, and to a heading of it."""
    document = ROOT / name
    broken = []
    for link in LINK.findall(FENCED.sub("", document.read_text())):
        path, _, anchor = link.partition("#")
        if ":" in path:  # elsewhere
            continue
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            broken.append(link)
    assert not broken


def test_the_matrix_is_of_these_scenarios():
    """A row for each, with its sentence and its alerts: who changes one runs it on all kernels."""
    text = (ROOT / "tests/kernel/README.md").read_text()
    rows = {row.split(" | ", 2)[0]: row.split(" | ", 2)[1] for row in MATRIX.findall(text)}
    assert rows == {
        f"**{name}**: {scenario.about}": ", ".join(
            sorted(alert.removeprefix("Netfilter") for alert in scenario.alerts)
        )
        for name, scenario in load().items()
    }


def test_the_readme_is_short():
    """Ten kilobytes are read to their end; what is more belongs into one of the other documents."""
    assert (ROOT / "README.md").stat().st_size <= 10_000
