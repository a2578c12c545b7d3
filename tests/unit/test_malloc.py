"""malloc.py: what large blocks take is given back."""

import subprocess
import sys

import pytest

from support.process import ENVIRONMENT

#: Prints the kB that stay when half of twenty blocks of 1 MB are freed, each below one in use.
FREED = """
import sys
from netfilter_exporter import malloc

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))

if sys.argv[1] == "as the exporter does":
    malloc.give_back()
b"x" * (8 << 20)
before = resident()
blocks = [b"x" * (1 << 20) for _ in range(20)]
del blocks[::2]
print(resident() - before)
"""


@pytest.mark.parametrize(("how", "stays"), [("as the exporter does", False), ("by default", True)])
def test_freed_blocks_below_one_in_use(how, stays):
    """By default glibc keeps them, once a larger one was freed."""
    command = [sys.executable, "-c", FREED, how]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert (int(done.stdout) > 15_000) is stays
