"""conftest.py and support/side_by_side.py: what shares something expensive stays together."""

import os
import re
import subprocess
import sys

import pytest

from support.side_by_side import begins, group
from support.wheel import ROOT

LAB = "tests/kernel/test_lab.py::test_the_fault_is_seen_and_nothing_else[bookworm-ip-forward-off]"
FILES = ("tests/unit/test_snmp.py", "tests/unit/test_hooks.py")


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (LAB, LAB.replace("bookworm", "sid"), True),
        (LAB, "tests/kernel/test_check.py::test_x", False),
        ("tests/kernel/test_record.py::test_x", "tests/kernel/test_check.py::test_x[a]", True),
        (
            "tests/golden/test_golden.py::test_a[6.1/idle]",
            "tests/golden/test_golden.py::test_b[6.1/idle]",
            True,
        ),
        (
            "tests/golden/test_golden.py::test_a[6.1/idle]",
            "tests/golden/test_golden.py::test_a[7.2/idle]",
            False,
        ),
        ("tests/unit/test_a.py::test_x[1]", "tests/unit/test_a.py::test_y", True),
        ("tests/unit/test_a.py::test_x", "tests/unit/test_b.py::test_x", False),
    ],
)
def test_groups(first, second, together):
    """The lab, the running kernel, a recorded host, a file."""
    assert (group(first) == group(second)) is together


def test_the_lab_begins():
    """It is the longest, and waits for its guests."""
    assert begins(LAB) < begins("tests/pythons/test_pythons.py::test_x") < begins("tests/unit/a.py")


@pytest.mark.timeout(300)
def test_a_file_stays_in_one_process(tmp_path):
    """pytest-xdist does with the groups what they are for."""
    pytest.importorskip("xdist")
    left_out = ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT")
    command = ("-m", "pytest", "-v", "-n", "2", "--dist", "loadscope", "-p", "no:cacheprovider")
    command += (f"--basetemp={tmp_path}/tmp",)
    done = subprocess.run(
        [sys.executable, *command, *FILES],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in left_out},
        capture_output=True,
        text=True,
        check=False,
    )
    ran = set(re.findall(r"^\[(gw\d)\].* (tests/\S+?)::", done.stdout, re.MULTILINE))
    assert sorted(file for _, file in ran) == sorted(FILES), done.stdout + done.stderr
