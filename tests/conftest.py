"""Settings and fixtures that all tests share."""

import pytest
from hypothesis import settings

from support.host import FakeHost

settings.register_profile("project", deadline=None, derandomize=True)
settings.load_profile("project")


def pytest_addoption(parser):
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden")


@pytest.fixture
def fake_host(tmp_path):
    """Return a function that makes the recorded host KERNEL/STATE below tmp_path, once each."""
    hosts = {}

    def make(name):
        if name not in hosts:
            hosts[name] = FakeHost(name, str(tmp_path / name.replace("/", "-")))
        return hosts[name]

    return make
