"""How much of the exporter the tests go through that need neither root nor the network."""

import os
import subprocess
import sys
import tempfile

import pytest

from support.wheel import ROOT

TESTS = ("tests/unit", "tests/golden", "tests/check", "tests/web")
#: These drive a process of its own, which is not looked into.
APART = (
    *(f"tests/web/test_{name}.py" for name in ("floods", "hold", "process", "soak", "reload")),
    *(f"tests/check/test_{name}.py" for name in ("alert_rules", "exit_codes")),
)


def run(*command, folder):
    left_out = ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT")
    variables = {name: value for name, value in os.environ.items() if name not in left_out}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**variables, "COVERAGE_FILE": f"{folder}/coverage"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.timeout(2400)
def test_branches_are_covered(tmp_path):
    """Lines and branches, at least as many as setup.cfg wants; the report names the others.

    Tests of properties are left out: they go through the same lines a hundred times.
    """
    chosen = ("-m", "not e2e and not hypothesis", "-p", "no:xdist", *TESTS)
    chosen += ("-o", f"cache_dir={tmp_path}/cache")
    chosen += tuple(f"--ignore={path}" for path in APART)
    pytest_command = ("coverage", "run", "-m", "pytest", "-q", "--timeout=600")
    with tempfile.TemporaryDirectory() as short:  # the path of a socket has 107 bytes at most
        run(*pytest_command, f"--basetemp={short}/t", *chosen, folder=tmp_path)
    run("coverage", "report", folder=tmp_path)
