"""Tests of the running kernel, in network namespaces of their own."""

import contextlib
from pathlib import Path

import pytest

from support import needs
from support.namespace import Namespace

TOOLS = ("ip", "nsenter", "modprobe", "nft", "iptables-legacy", "iptables-nft", "conntrack")

EVERY_BACKEND = """
iptables-legacy -w -t nat -A POSTROUTING -o wan0 -j MASQUERADE
ip6tables-legacy -w -t nat -A POSTROUTING -o wan0 -j MASQUERADE
nft 'table ip t { chain c { type nat hook postrouting priority 100; oifname "wan0" masquerade; }; }'
"""


def pytest_collection_modifyitems(items):
    reason = None if needs.KERNEL else needs.root_and(*TOOLS)
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.kernel)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@contextlib.contextmanager
def _namespaces():
    made = []

    def make():
        made.append(Namespace())
        return made[-1]

    try:
        yield make
    finally:
        for namespace in made:
            namespace.close()


@pytest.fixture
def namespaces():
    """Return a function that makes a network namespace; all are gone after the test."""
    with _namespaces() as make:
        yield make


@pytest.fixture(scope="module")
def module_namespaces():
    """The same for all tests of a module."""
    with _namespaces() as make:
        yield make


@pytest.fixture
def namespace(namespaces):
    """A network namespace of the test's own."""
    return namespaces()


@pytest.fixture
def gateway(namespace):
    """A namespace with rules in all backends."""
    namespace.sh(EVERY_BACKEND)
    return namespace
