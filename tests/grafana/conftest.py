"""The dashboards, and the builder that they are made with."""

import importlib
import sys
import warnings
from pathlib import Path

import pytest

import boards
from support import needs

sys.path.insert(0, str(Path(__file__).parents[2] / "grafana"))

TOOLS = ("ip", "nsenter", "nft", "setpriv", "apt-get", "dpkg-deb")


def pytest_collection_modifyitems(items):
    reason = None if needs.E2E else needs.root_and(*TOOLS)
    for item in items:
        here = item.path.parent == Path(__file__).parent
        if here and reason and item.get_closest_marker("e2e"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(params=boards.NAMES)
def board(request):
    """Each dashboard."""
    return boards.load(request.param)


@pytest.fixture(scope="session")
def generate():
    """The builder."""
    pytest.importorskip("grafana_foundation_sdk", reason="the builder needs it, and Python 3.11")
    with warnings.catch_warnings():  # it would have us make what Grafana 9 to 11 cannot read
        warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
        return importlib.import_module("generate")
