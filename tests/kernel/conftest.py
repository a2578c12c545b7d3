"""Tests of the running kernel, in network namespaces of their own."""

import os
import shutil
from pathlib import Path

import pytest

from support.namespace import Namespace

TOOLS = ("ip", "nsenter", "nft", "iptables-legacy", "iptables-nft", "conntrack")
FORCED = os.environ.get("NETFILTER_EXPORTER_TEST_KERNEL") == "1"


def reason_to_skip():
    """Return why the running kernel cannot be tested, None where it can."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if os.geteuid() != 0:
        return "not root"
    return f"missing: {', '.join(missing)}" if missing else None


def pytest_collection_modifyitems(items):
    reason = None if FORCED else reason_to_skip()
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.kernel)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def namespaces():
    """Return a function that makes a network namespace; all are gone after the test."""
    made = []

    def make():
        made.append(Namespace())
        return made[-1]

    yield make
    for namespace in made:
        namespace.close()


@pytest.fixture
def namespace(namespaces):
    """A network namespace of the test's own."""
    return namespaces()
