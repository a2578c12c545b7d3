"""The dashboards, and the builder that they are made with."""

import importlib
import os
import sys
import warnings
from pathlib import Path

import pytest

import boards

sys.path.insert(0, str(Path(__file__).parents[2] / "grafana"))

FORCED = os.environ.get("NETFILTER_EXPORTER_TEST_E2E") == "1"


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
