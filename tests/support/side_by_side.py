"""Which tests run side by side where there are several processes, and which begin.

pytest-xdist's own groups (`--dist loadgroup`, 3.8.0) have no effect with pytest 9.2, which has no
`_nodeid` any more to write them into: they are made of the name of a test here.
"""

from __future__ import annotations

LAB = "tests/kernel/test_lab.py"
BOOTED = "tests/deploy/test_booted.py"
KERNEL = "tests/kernel/"
GOLDEN = "tests/golden/test_golden.py"

#: The lab and the programs, which wait most of the time, then what takes minutes.
_ORDER = (
    LAB,
    "tests/programs/",
    *("tests/pythons/", "tests/lint/", "tests/deploy/", "tests/alerts/"),
    *("tests/grafana/", "tests/web/", KERNEL),
)


def group(nodeid: str) -> str:
    """Return what the tests that go one after the other in one process have in common.

    That is the kernel, or an expensive fixture: of the lab, of a recorded host or of a file.
    """
    path, _, rest = nodeid.partition("::")
    if path.startswith(KERNEL) and path != LAB:
        return KERNEL
    _, is_of_host, host = rest.rstrip("]").partition("[")
    return f"{path}[{host}]" if path == GOLDEN and is_of_host else path


def begins(nodeid: str) -> int:
    """Return when the group of a test begins.

    Last a guest with systemd: the time limits of its units do not hold beside all the others.
    """
    if nodeid.startswith(BOOTED):
        return len(_ORDER) + 1
    found = (number for number, start in enumerate(_ORDER) if nodeid.startswith(start))
    return next(found, len(_ORDER))
