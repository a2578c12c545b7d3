"""Connection tracking's own numbers: entries, limits and statistics.

Source: net/netfilter/nf_conntrack_standalone.c (v6.18): ``nf_ct_sysctl_table`` for the files below
/proc/sys/net/netfilter, ``ct_cpu_seq_show`` for /proc/net/stat/nf_conntrack.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from netfilter_exporter.kernel import kept_files
from netfilter_exporter.kernel.errors import Malformed, NoData
from netfilter_exporter.kernel.files import Paths

SYSCTL = "sys/net/netfilter/nf_conntrack_"
STATISTICS = "net/stat/nf_conntrack"


class Column(NamedTuple):
    """A statistic: our name, the header of its column, its CTA_STATS_* number, and its help."""

    name: str
    header: bytes
    attribute: int | None  #: include/uapi/linux/netfilter/nfnetlink_conntrack.h; None: not there
    help: str


#: The live columns. Not here: entries (a gauge, on every row the same), new, delete and
#: delete_list (0 since before v4.9), ignore (0 since 5.10), searched (0 since before v4.9) and
#: insert (counts only what ctnetlink creates).
COLUMNS = (
    Column("invalid", b"invalid", 4, "Packets that could not be tracked."),
    Column(
        "insert_failed", b"insert_failed", 9, "Entries not inserted: lost a race, or no free tuple."
    ),
    Column("drop", b"drop", 10, "Packets dropped: table full, or no entry allocated."),
    Column("early_drop", b"early_drop", 11, "Entries evicted to make room in a full table."),
    Column("icmp_error", b"icmp_error", 12, "ICMP errors that belong to no tracked flow."),
    Column("search_restart", b"search_restart", 13, "Lookups restarted after a table resize."),
    # clashres took the place of searched in 5.10.
    Column("clash_resolved", b"clashres", 14, "Races for one tuple that were resolved."),
    # chainlength took the place of delete_list in 6.1.
    Column("chain_too_long", b"chainlength", 15, "Entries refused: hash chain too long."),
    # found counts in nf_conntrack_tuple_taken alone: a NAT mapping that was already in use.
    Column("nat_collision", b"found", 2, "NAT mappings tried that were already in use."),
    Column("expect_new", b"expect_new", None, "Packets that matched an expectation."),
    Column("expect_created", b"expect_create", None, "Expectations made by helpers."),
    Column("expect_deleted", b"expect_delete", None, "Expectations removed."),
)

#: Of one CPU, by `Column.name`; a column that this kernel lacks is not in it.
CpuStatistics = Mapping[str, int]
Statistics = tuple[CpuStatistics, ...]


def total(statistics: Statistics) -> dict[str, int]:
    """Return the counters of all CPUs together."""
    found: dict[str, int] = {}
    for cpu in statistics:
        for name, number in cpu.items():
            found[name] = found.get(name, 0) + number
    return found


def read_statistics(paths: Paths) -> Statistics:
    """Return the raw u32 counters of each possible CPU.

    Raises `NoData` where nf_conntrack is absent or built without CONFIG_NF_CONNTRACK_PROCFS.
    """
    path = paths.proc(STATISTICS)
    return parse_statistics(kept_files.read_bytes(path), path)


def parse_statistics(content: bytes, what: str, columns: Sequence[Column] = COLUMNS) -> Statistics:
    """Parse /proc/net/stat/nf_conntrack by its header: columns were renamed and added.

    Of `columns` only.
    """
    lines = content.splitlines()
    if not lines:
        raise NoData(f"{what}: empty")
    header = lines[0].split()
    wanted = [(c.name, header.index(c.header)) for c in columns if c.header in header]
    if not wanted:
        raise Malformed(f"{what}: no known column in {lines[0][:80]!r}")
    statistics = []
    for line in lines[1:]:
        fields = line.split()
        if len(fields) != len(header) or any(len(field) > 8 for field in fields):
            raise Malformed(f"{what}: {len(header)} names, and below them {line[:80]!r}")
        statistics.append({name: _hex32(fields[at], what) for name, at in wanted})
    if not statistics:
        raise Malformed(f"{what}: a header without a row")
    return tuple(statistics)


def parse_entries(content: bytes, what: str) -> int:
    """Return the entries of the namespace whose file it is: on each row the same number."""
    head, _, rows = content.partition(b"\n")
    fields = rows.split(None, 1)
    if not head.startswith(b"entries ") or not fields:
        raise Malformed(f"{what}: no entries in {head[:40]!r}")
    if len(fields[0]) > 8:
        raise Malformed(f"{what}: not a number of entries: {fields[0][:20]!r}")
    return _hex32(fields[0], what)


def _hex32(field: bytes, what: str) -> int:
    try:
        return int.from_bytes(binascii.unhexlify(field.rjust(8, b"0")), "big")
    except binascii.Error:
        raise Malformed(f"{what}: not a hexadecimal number: {field[:20]!r}") from None
