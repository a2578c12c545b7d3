"""Names that are bytes: nothing is lost, and two never become one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel import names, system

RAW = st.binary(max_size=12).filter(lambda raw: b"\0" not in raw)
#: What makes collisions likely.
TRICKY = st.lists(st.sampled_from([b"\\", b"x", b"f", b"\xff", b"\\xff", b"a"]), max_size=6)


@given(RAW)
def test_bytes_come_back(raw):
    """A name that is sent to the kernel is the one that the kernel gave."""
    assert names.encode(names.decode(raw)) == raw
    assert names.decode(raw + b"\0garbage") == names.decode(raw)


@given(RAW | TRICKY.map(b"".join), RAW | TRICKY.map(b"".join))
def test_labels_differ_where_names_do(one, other):
    """Two names have two labels, which are UTF-8, whatever the names look like."""
    labels = [names.label(names.decode(raw)) for raw in (one, other)]
    assert (labels[0] == labels[1]) is (one == other)
    assert all(label.encode() for label in labels if label)


@pytest.mark.parametrize(
    ("raw", "label", "shown"),
    [
        (b"nat", "nat", "nat"),
        ("größe".encode(), "größe", "größe"),
        (b"a\xff", r"a\xff", r"a\xff"),
        (rb"a\xff", r"a\\xff", r"a\xff"),
        (b"a\\\xff", r"a\\\xff", r"a\\xff"),
        (rb"a\b", r"a\b", r"a\b"),
        (b"a\nb", "a\nb", r"a\x0ab"),
        ("\u202ea\U000e0001".encode(), "\u202ea\U000e0001", r"\u202ea\U000e0001"),
    ],
)
def test_how_a_name_is_written(raw, label, shown):
    """The page escapes bytes that are no UTF-8; a terminal also gets nothing that it obeys."""
    assert names.label(names.decode(raw)) == label
    assert names.printable(names.decode(raw)) == shown


def test_interfaces_are_named_alike_in_every_locale(monkeypatch):
    """Python decodes their names by the locale; those in rules are always UTF-8."""
    as_latin = [(7, "größe".encode().decode("latin-1")), (8, b"a\xff".decode("latin-1"))]
    monkeypatch.setattr(system.socket, "if_nameindex", lambda: as_latin)
    monkeypatch.setattr(system.os, "fsencode", lambda name: name.encode("latin-1"))
    assert system.read_interfaces() == {"größe": 7, "a\udcff": 8}
