"""What the host of the repository reads: its jobs run all tests, its forms ask what is needed."""

import re

import pytest
import yaml

from support.wheel import ROOT

GITHUB = ROOT / ".github"
JOBS = (GITHUB / "workflows/tests.yml").read_text()
#: In tests/run --fast, on a matrix of Pythons.
FAST = {"lint", "unit", "golden"}


def test_every_folder_of_tests_has_a_job():
    """Tests that nobody runs would rot."""
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders - FAST == set(re.findall(r"tests/(\w+)", JOBS)) - {"run", "lint"}


def test_every_python_that_is_supported_has_a_job():
    """They are those of setup.cfg."""
    setup = (ROOT / "setup.cfg").read_text()
    versions = re.findall(r"Python :: (3\.\d+)", setup)
    assert yaml.safe_load(JOBS)["jobs"]["fast"]["strategy"]["matrix"]["python"] == versions


@pytest.mark.parametrize("form", ["bug", "fault"])
def test_a_report_comes_with_the_facts(form):
    """The kernel and what check finds: every answer begins with them."""
    fields = yaml.safe_load((GITHUB / f"ISSUE_TEMPLATE/{form}.yml").read_text())["body"]
    required = " ".join(
        f["attributes"]["label"] for f in fields if f.get("validations", {}).get("required")
    )
    assert "check --json" in required
    assert "uname -r" in required


def test_a_pull_request_comes_with_the_facts():
    """The same, before and after."""
    template = (GITHUB / "pull_request_template.md").read_text()
    assert "check --json" in template
    assert "uname -r" in template
