"""Settings and fixtures that all tests share, and which of them run side by side."""

import collections

import pytest
from hypothesis import settings

from support import side_by_side
from support.host import FakeHost

settings.register_profile("project", deadline=None, derandomize=True)
# Where time matters more: --fast, and the other Pythons.
settings.register_profile("few", settings.get_profile("project"), max_examples=20)
settings.load_profile("project")

LONG = 600  #: seconds of all tests together: more than --fast takes


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden")
    between = "also what holds on both sides: kernels, Pythons and promtools in between"
    parser.addoption("--every", action="store_true", help=between)


def pytest_collection_modifyitems(items):
    """Begin with the longest."""
    items.sort(key=lambda item: side_by_side.begins(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep the tests of a group in one process, with --dist loadscope."""
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - other Pythons do without

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return side_by_side.group(nodeid)

    return Scheduling(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Print what a process that runs tests beside others has to show: see tests/kernel."""
    shown = getattr(node, "workeroutput", {}).get("shown")
    if shown:
        node.config.get_terminal_writer().write(shown)


def pytest_terminal_summary(terminalreporter):
    """Print the files that took longest, where a run took minutes."""
    seconds = collections.Counter()
    for report in (each for reports in terminalreporter.stats.values() for each in reports):
        seconds[getattr(report, "nodeid", "").partition("::")[0]] += getattr(report, "duration", 0)
    if sum(seconds.values()) > LONG:
        terminalreporter.section("longest files")
        for file, took in seconds.most_common(25):
            terminalreporter.write_line(f"{took:6.0f} s  {file}")


@pytest.fixture
def fake_host(tmp_path):
    """Return a function that makes the recorded host KERNEL/STATE below tmp_path, once each."""
    hosts = {}

    def make(name):
        if name not in hosts:
            hosts[name] = FakeHost(name, str(tmp_path / name.replace("/", "-")))
        return hosts[name]

    return make
