"""The worked example in CONTRIBUTING.md works, and commit messages are checked as it says."""

import os
import re
import shutil
import subprocess
import sys

import commit_message
import pytest

from support.wheel import ROOT

#: A path in backticks and a colon, and behind it the file.
FILES = re.compile(r"`([\w/]+\.py)`:\n\n```python\n(.*?)```", re.DOTALL)
pytestmark = pytest.mark.timeout(600)
EXAMPLE = dict(FILES.findall((ROOT / "CONTRIBUTING.md").read_text()))


@pytest.fixture
def tree(tmp_path):
    """A copy of the package with the example in it, and what its test needs."""
    package = "exporter/netfilter_exporter"
    shutil.copytree(ROOT / package, tmp_path / package, symlinks=True)
    for name in ("alerts", "grafana"):  # where the package's links lead
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "tests/unit").mkdir(parents=True)
    shutil.copy(ROOT / "tests/conftest.py", tmp_path / "tests")
    for name in ("support", "fixtures", "kernel"):
        (tmp_path / "tests" / name).symlink_to(ROOT / "tests" / name)
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for name, text in EXAMPLE.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def run(tree, *command):
    """Return what a command says that fails; nothing is fine."""
    path = os.pathsep.join(map(str, (tree / "exporter", tree / "tests")))
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode else ""


def pytest_in(tree):
    """Return the command, which else begins with deleting what runs before this one left."""
    return ("pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", f"--basetemp={tree}/tmp")


def test_the_example_is_a_whole_collector():
    """A parser, a fact, rows and a test, and nothing else."""
    folders = [os.path.dirname(name).rpartition("/")[2] for name in EXAMPLE]
    assert folders == ["kernel", "facts", "collectors", "unit"]


def test_the_test_of_the_example_passes(tree):
    """Who pastes it sees it pass."""
    *_, test = EXAMPLE
    assert run(tree, *pytest_in(tree), test) == ""


def test_the_example_fits_in(tree):
    """Into the budget of the page, and into the order of the layers."""
    for name in ("test_cost.py", "test_layers.py"):
        shutil.copy(ROOT / "tests/unit" / name, tree / "tests/unit")
    tests = "tests/unit/test_cost.py::test_all_budgets_fit_on_a_page", "tests/unit/test_layers.py"
    assert run(tree, *pytest_in(tree), *tests) == ""


def test_linters_find_nothing_in_the_example(tree):
    """It is written as everything else is."""
    assert run(tree, "ruff", "check", "--no-cache", *EXAMPLE) == ""
    assert run(tree, "ruff", "format", "--no-cache", "--check", *EXAMPLE) == ""


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ("nat: count rules behind goto\n\nThey were not counted.\n", None),
        ("Merge branch 'x'\n", None),
        ("count rules behind goto\n\nWhy.\n", "area"),
        (f"nat: {'x' * 68}\n\nWhy.\n", "73 characters"),
        ("nat: count rules; check: say so\n\nWhy.\n", "semicolon"),
        ("nat: count rules\n# a comment of git's\n", "no body"),
        ("nat: count rules\nWhy.\n", "not empty"),
    ],
)
def test_a_commit_message_is_checked(message, fault):
    """A subject with an area and at most 72 characters, an empty line, and why."""
    found = list(commit_message.faults(message))
    assert len(found) == (fault is not None)
    assert fault is None or fault in found[0]
