"""vmalert loads the rules, and they do there what they do in Prometheus."""

import subprocess
from pathlib import Path

import pytest

from netfilter_exporter import assets
from support import needs, promstack, rule_tests

FOLDER = Path(assets.folder(), "alerts").resolve()
TESTS = Path(__file__).parents[2] / "alerts" / "tests"
RULES = assets.load_rules(assets.files()[assets.RULES])

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def tool():
    """vmalert-tool, which comes with vmalert."""
    with needs.packages():
        return promstack.vmalert_tool()


def run(*command):
    """Return the exit code of a program and what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_vmalert_loads_the_rules(tool):
    """Expressions and templates are valid there."""
    vmalert = tool.with_name("vmalert")
    code, said = run(vmalert, "-dryRun", f"-rule={FOLDER / 'netfilter.rules.yml'}")
    assert code == 0, said


def test_vmalert_refuses_what_is_no_rule(tool, tmp_path):
    """The test above would notice."""
    (tmp_path / "rules.yml").write_text("groups: [{name: a, rules: [{record: a:b, expr: 'x >'}]}]")
    code, _ = run(tool.with_name("vmalert"), "-dryRun", f"-rule={tmp_path / 'rules.yml'}")
    assert code != 0


@pytest.mark.parametrize("name", ["targets", "fleet"])
def test_alerts_do_the_same_in_vmalert(tool, tmp_path, name):
    """Pages that hold while their host is down, and a page of a fleet, read ALERTS."""
    files = rule_tests.written(TESTS / f"{name}_test.yml", RULES, tmp_path)
    flags = [f"--files={file}" for file in files]
    code, said = run(tool, "unittest", "-disableAlertgroupLabel", *flags)
    assert code == 0, said
