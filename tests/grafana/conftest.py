"""The dashboards, and the builder that they are made with."""

import importlib
import os
import shutil
import sys
import warnings
from pathlib import Path

import pytest

import boards

sys.path.insert(0, str(Path(__file__).parents[2] / "grafana"))

TOOLS = ("ip", "nsenter", "nft", "setpriv", "apt-get", "dpkg-deb")
FORCED = os.environ.get("NETFILTER_EXPORTER_TEST_E2E") == "1"


def reason_to_skip():
    """Return why no exporter and no Prometheus can be run here, None where they can."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if os.geteuid() != 0:
        return "not root"
    return f"missing: {', '.join(missing)}" if missing else None


def pytest_collection_modifyitems(items):
    reason = None if FORCED else reason_to_skip()
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
