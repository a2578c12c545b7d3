"""The table of exporter/deploy/README.md: what an attacker who owns the exporter can still do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

_README = Path(__file__).parents[2] / "exporter/deploy/README.md"

#: The attempts of tests/kernel/lab/attempts.py that each row is about; which of them are made
#: depends on where.
_ROWS = {
    "open any sysctl for writing": ("any sysctl",),
    "open any file of /sys for writing": ("any file of sysfs", "hash size"),
    "create a file anywhere of the host": (
        *("any folder", "any file of the host", "configuration", "program", "state"),
        *("what runs", "locks", "shared memory"),
    ),
    "connect to a socket in the file system": ("any socket",),
    "connect to an abstract socket of the same network namespace": ("abstract socket",),
    "read shadow, sudoers": ("shadow", "sudoers"),
    "open shadow by its handle (open_by_handle_at)": ("file handle",),
    "read through /proc/PID/root": ("root of a process",),
    "load a module, mount, set host name or clock, packet socket": (
        *("module", "mount", "host name", "clock", "packet socket", "kernel log"),
    ),
    "start a program": ("start of a program",),
    "make a TCP connection": ("tcp socket",),
    "replace a legacy table, set up an interface (setsockopt, ioctl)": (
        "legacy table",
        "interface",
    ),
    "change the ruleset (nft, in the process)": ("ruleset",),
    "set forwarding of an interface over rtnetlink, without /proc/sys": ("forwarding by netlink",),
}


def _cells() -> Iterator[list[str]]:
    """Yield the cells of each line of the table."""
    lines = _README.read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| attempt |"))
    for line in lines[start:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def claims(column: str) -> dict[str, bool]:
    """Return what a column says of each row: whether the attempt is possible."""
    head, _, *rows = _cells()
    place = head.index(column)
    assert [row[0] for row in rows] == list(_ROWS)
    return {row[0]: row[place].startswith("**possible**") for row in rows}


def seen(met: Mapping[str, str]) -> dict[str, bool]:
    """Return of each row whether one of its attempts got through, by how each has ended."""
    assert all(set(names) & met.keys() for names in _ROWS.values())
    return {
        row: any(met.get(name, "").startswith("done") for name in names)
        for row, names in _ROWS.items()
    }
