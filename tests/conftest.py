"""Settings and fixtures that all tests share, and which of them run side by side."""

import pytest
from hypothesis import settings

from support.host import FakeHost

settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")

LAB, KERNEL = "lab", "kernel"


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden")


def pytest_collection_modifyitems(items):
    """Keep together what shares an expensive fixture or the kernel; begin with the longest."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=_begins)


def _group(item):
    """Return what may not run beside each other: by default, the tests of a file."""
    if item.get_closest_marker("lab") and item.path.parent.name == "kernel":
        return LAB
    if item.path.parent.name == "kernel":
        return KERNEL
    if "scraped" in getattr(item, "fixturenames", ()):
        return f"golden-{item.callspec.params['scraped']}"
    return str(item.path)


def _begins(item):
    """Return when to begin: the lab, which waits most of the time, then what takes minutes."""
    folder = item.path.parent.name
    order = (LAB, "pythons", "coverage", "lint", "deploy", "alerts", "grafana", "web", KERNEL)
    group = LAB if _group(item) == LAB else folder
    return order.index(group) if group in order else len(order)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Print what a process that runs tests beside others has to show: see tests/kernel."""
    shown = getattr(node, "workeroutput", {}).get("shown")
    if shown:
        node.config.get_terminal_writer().write(shown)


@pytest.fixture
def fake_host(tmp_path):
    """Return a function that makes the recorded host KERNEL/STATE below tmp_path, once each."""
    hosts = {}

    def make(name):
        if name not in hosts:
            hosts[name] = FakeHost(name, str(tmp_path / name.replace("/", "-")))
        return hosts[name]

    return make
