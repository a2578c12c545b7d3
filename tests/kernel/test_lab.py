"""Faults put into real kernels, and healthy hosts, each held against what must be seen of it.

Every scenario that needs no boot is run on the running kernel. The oldest and the newest are booted
for those that load modules or in which kernels differ, the ones in between for those in which
kernels differ. With --every each is run on each kernel, and with --update-golden, which writes the
table in the README.md of this folder.
"""

import concurrent.futures

import pytest

from lab import kernels, machine, matrix, run, userland
from lab.build import Builder
from lab.scenario import load
from lab.verdict import Verdict
from support import debian, needs, readme

SUITES = (*kernels.SUITES, run.HERE)
LAB = "lab"
#: For all kernels on two cores, beside the other tests, and some patience.
LONG = 5300
OUTERMOST = {kernels.SUITES[0], kernels.SUITES[-1]}

pytestmark = [pytest.mark.lab, pytest.mark.timeout(LONG)]


class Lab:
    """Runs kernels in the background, and remembers what came of each."""

    def __init__(self, folder, pool, names):
        """`names` are those of the scenarios to run, by suite."""
        self._futures = {}
        if run.HERE in names:
            self._futures[run.HERE] = pool.submit(run.on_this_kernel, names[run.HERE], folder)
        self._reason = machine.lacking()
        booted = [suite for suite in kernels.SUITES if suite in names]
        if not booted or self._reason:
            return
        try:
            builder = Builder(folder)
        except (debian.UnavailableError, userland.BuildError) as error:
            self._reason = str(error)
            return
        for suite in sorted(booted, key=lambda suite: -len(names[suite])):  # the longest first
            self._futures[suite] = pool.submit(run.on_suite, builder, suite, names[suite], folder)

    def column(self, suite):
        """Return what came of a kernel; skip the test where it cannot be had, or fail if forced."""
        if suite in self._futures:
            try:
                return self._futures[suite].result()
            except debian.UnavailableError as error:
                self._reason = str(error)
        return needs.lacks(self._reason, forced=needs.KERNEL)

    def columns(self):
        """Return what came of all of them, the oldest kernel first."""
        futures = [self._futures[suite] for suite in SUITES if suite in self._futures]
        return [future.result() for future in futures if not future.exception()]


@pytest.fixture(scope="session", name=LAB)
def _lab(tmp_path_factory, request):
    """Every scenario on every kernel that a test was chosen for."""
    chosen = [item.callspec.params for item in request.session.items if LAB in item.fixturenames]
    names = {}
    for params in chosen:
        names.setdefault(params["suite"], []).append(params["name"])
    with concurrent.futures.ThreadPoolExecutor(run.JOBS) as pool:
        found = Lab(tmp_path_factory.mktemp("lab"), pool, names)
        yield found
        table = matrix.table(found.columns())
        _show(request.config, f"\n\n{table}\n")
        if request.config.getoption("--update-golden"):
            readme.write("matrix", table)


def _show(config, text):
    """Print it; of several processes, one prints what the others have to show."""
    if hasattr(config, "workeroutput"):
        config.workeroutput["shown"] = text
    else:
        config.pluginmanager.get_plugin("terminalreporter").write(text)


def pytest_generate_tests(metafunc):
    """Choose the scenarios of each kernel."""
    option = metafunc.config.getoption
    chosen = [
        (suite, name)
        for suite in SUITES
        for name, scenario in load().items()
        if option("--every") or option("--update-golden") or _is_run(scenario, suite)
    ]
    metafunc.parametrize(("suite", "name"), chosen)


def _is_run(scenario, suite):
    """Return whether it may say something there that it does not say elsewhere."""
    if suite == run.HERE:
        return True
    return scenario.depends if suite in OUTERMOST else bool(scenario.differences)


def test_the_fault_is_seen_and_nothing_else(lab, suite, name):
    """A fault raises exactly its alerts, a healthy twin none, and looking changes nothing."""
    column = lab.column(suite)
    outcome = column.outcomes[name]
    if outcome.verdict is Verdict.SKIPPED:
        pytest.skip(f"Linux {column.label} cannot be brought into that state here")
    assert outcome.verdict in {Verdict.SEEN, Verdict.QUIET}, "\n".join(outcome.reasons)
