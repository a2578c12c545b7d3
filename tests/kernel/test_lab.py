"""Faults put into real kernels, and healthy hosts, each held against what must be seen of it."""

import concurrent.futures
import os
import platform
from pathlib import Path

import pytest

from lab import kernels, machine, matrix, run, userland
from lab.build import TESTS, Builder
from lab.scenario import load
from lab.verdict import Verdict
from support import debian

FORCED = os.environ.get("NETFILTER_EXPORTER_TEST_KERNEL") == "1"
SUITES = (*kernels.SUITES, run.HERE)
MATRIX = Path(__file__).with_name("matrix.md")
README = TESTS.parent / "README.md"
#: For the whole matrix on two cores, and some patience.
LONG = 3000

pytestmark = [pytest.mark.lab, pytest.mark.timeout(LONG)]


def lacking():
    """Return why no kernel can be booted, None where one can."""
    if platform.machine() != "x86_64":
        return f"{platform.machine()}: the guest's tools are x86-64's"
    if not machine.is_available():
        return f"no {machine.QEMU}"
    try:
        debian.mirror()
    except debian.UnavailableError as error:
        return str(error)
    return None


class Lab:
    """Runs every kernel in the background, and remembers what came of it."""

    def __init__(self, folder, pool):
        self._names = list(load())
        self._folder = folder
        self._pool = pool
        self._futures = {run.HERE: pool.submit(run.on_this_kernel, self._names, folder)}
        self._reason = lacking()

    def boot(self):
        """Begin to run the others; once."""
        if self._reason is None and len(self._futures) == 1:
            try:
                builder = Builder(self._folder)
            except (debian.UnavailableError, userland.BuildError) as error:
                self._reason = str(error)
                return
            for suite in kernels.SUITES:
                self._futures[suite] = self._pool.submit(
                    run.on_suite, builder, suite, self._names, self._folder
                )

    def column(self, suite):
        """Return what came of a kernel; skip the test where it cannot be had, or fail if forced."""
        self.boot()
        if suite in self._futures:
            try:
                return self._futures[suite].result()
            except debian.UnavailableError as error:
                self._reason = str(error)
        if FORCED:
            pytest.fail(self._reason)
        return pytest.skip(self._reason)

    def columns(self):
        return [future.result() for future in self._futures.values() if not future.exception()]


@pytest.fixture(scope="session")
def lab(tmp_path_factory, request):
    """Every scenario on every kernel: two of them at a time."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = Lab(tmp_path_factory.mktemp("lab"), pool)
        yield found
        table = matrix.table(found.columns())
        request.config.pluginmanager.get_plugin("terminalreporter").write(f"\n\n{table}\n")
        if request.config.getoption("--update-golden"):
            MATRIX.write_text(table)
            README.write_text(matrix.embed(README.read_text(), table))


@pytest.mark.parametrize("name", load())
@pytest.mark.parametrize("suite", SUITES)
def test_the_fault_is_seen_and_nothing_else(lab, suite, name):
    """A fault raises exactly its alerts, a healthy twin none, and looking changes nothing."""
    column = lab.column(suite)
    outcome = column.outcomes[name]
    if outcome.verdict is Verdict.SKIPPED:
        pytest.skip(f"Linux {column.label} cannot be brought into that state here")
    assert outcome.verdict in {Verdict.SEEN, Verdict.QUIET}, "\n".join(outcome.reasons)
