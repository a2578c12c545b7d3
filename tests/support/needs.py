"""What tests need besides Python: without it they are skipped with a reason, or fail where forced.

`tests/run` forces them as root; NETFILTER_EXPORTER_TEST_KERNEL and ..._E2E are the switches.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import NoReturn

import pytest

from support import debian

KERNEL = os.environ.get("NETFILTER_EXPORTER_TEST_KERNEL") == "1"
E2E = os.environ.get("NETFILTER_EXPORTER_TEST_E2E") == "1"


def lacks(reason: str, *, forced: bool) -> NoReturn:
    """End a test that lacks something."""
    (pytest.fail if forced else pytest.skip)(reason)


@contextlib.contextmanager
def packages(*, forced: bool = E2E) -> Iterator[None]:
    """Run what fetches packages of Debian; where they cannot be had, the test lacks them."""
    try:
        yield
    except debian.UnavailableError as error:
        lacks(str(error), forced=forced)


def root_and(*tools: str) -> str | None:
    """Return why a test cannot be run that needs root and these programs, None where it can."""
    if os.geteuid() != 0:
        return "not root"
    missing = [tool for tool in tools if not shutil.which(tool)]
    return f"missing: {', '.join(missing)}" if missing else None
