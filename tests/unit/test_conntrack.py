"""kernel/conntrack/statistics.py: statistics by header name, whatever the kernel."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.conntrack.statistics import COLUMNS, parse_statistics
from netfilter_exporter.kernel.errors import NoData, ReadError

HEADER_4_9 = (
    b"entries  searched found new invalid ignore delete delete_list insert insert_failed drop"
    b" early_drop icmp_error  expect_new expect_create expect_delete search_restart\n"
)
HEADER_6_1 = HEADER_4_9.replace(b"searched", b"clashres").replace(b"delete_list", b"chainlength")


def row(**values: int) -> bytes:
    """Return a row of HEADER_6_1 with `values` by column name."""
    names = HEADER_6_1.split()
    return b" ".join(b"%08x" % values.get(name.decode(), 0) for name in names) + b"\n"


def test_columns_are_found_by_name():
    """A value is taken from the column of its name, in hexadecimal."""
    (cpu,) = parse_statistics(HEADER_6_1 + row(drop=0x1F, clashres=2, chainlength=3), "stat")
    assert (cpu["drop"], cpu["clash_resolved"], cpu["chain_too_long"]) == (31, 2, 3)


def test_a_renamed_column_is_not_mistaken():
    """Before 5.10 the second column is searched, before 6.1 the eighth delete_list: not ours."""
    (cpu,) = parse_statistics(HEADER_4_9 + row(clashres=7, chainlength=9), "stat")
    assert "clash_resolved" not in cpu
    assert "chain_too_long" not in cpu
    assert cpu["nat_collision"] == 0


def test_each_cpu_has_its_row():
    """Rows stay apart, so that a wrap of one CPU can be told."""
    statistics = parse_statistics(HEADER_6_1 + row(drop=1) + row(drop=2), "stat")
    assert [cpu["drop"] for cpu in statistics] == [1, 2]


@pytest.mark.parametrize(
    "content",
    [
        HEADER_6_1,
        HEADER_6_1 + b"00000001 00000002\n",
        HEADER_6_1 + row().replace(b"00000000", b"0000zz00", 5),
        HEADER_6_1 + row().replace(b"00000000", b"100000000", 5),
        b"one two three\n1 2 3\n",
    ],
    ids=["no row", "short row", "not hexadecimal", "more than 32 bits", "unknown columns"],
)
def test_garbage_is_an_error(content: bytes):
    """A file that is not what the kernel promises gives no number at all."""
    with pytest.raises(ReadError, match="stat: "):
        parse_statistics(content, "stat")


def test_an_empty_file_is_no_data():
    """The file of a namespace that is going away may be empty."""
    with pytest.raises(NoData):
        parse_statistics(b"", "stat")


@given(st.binary(max_size=400) | st.binary(max_size=400).map(HEADER_6_1.__add__))
def test_any_bytes_give_u32_or_an_error(content: bytes):
    """No input makes anything but u32 values or a ReadError."""
    try:
        statistics = parse_statistics(content, "stat")
    except ReadError:
        return
    names = {column.name for column in COLUMNS}
    for cpu in statistics:
        assert set(cpu) <= names
        assert all(0 <= number < 1 << 32 for number in cpu.values())
