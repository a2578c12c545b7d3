"""kernel/modules/lists.py and kernel/modules/kallsyms.py: the lists of modules and symbols."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.errors import NoData, ReadError
from netfilter_exporter.kernel.modules.kallsyms import BuiltinSymbols
from netfilter_exporter.kernel.modules.lists import (
    Loaded,
    parse_aliases,
    parse_builtin,
    parse_dep,
    parse_proc_modules,
)

PROC_MODULES = b"""xt_MASQUERADE 20480 1 - Live 0xffffffffc0588000
nf_nat 57344 4 xt_MASQUERADE,xt_REDIRECT,xt_nat,iptable_nat, Live 0xffffffffc056d000
nf_conntrack 188416 5 nf_nat,[permanent], Live 0xffffffffc052e000 (E)
nf_tables 303104 0 - Loading 0x0000000000000000
"""
WANTED = frozenset((b"nf_nat", b"nf_conntrack", b"nf_tables", b"nft_ct"))


def test_proc_modules():
    """References, users and whether it is in use yet are read of the wanted modules alone."""
    loaded = parse_proc_modules(PROC_MODULES, WANTED)
    assert set(loaded) == {"nf_nat", "nf_conntrack", "nf_tables"}
    users = frozenset(("xt_MASQUERADE", "xt_REDIRECT", "xt_nat", "iptable_nat"))
    assert loaded["nf_nat"] == Loaded(references=4, users=users, live=True)
    assert "nf_nat" in loaded["nf_conntrack"].users
    assert loaded["nf_tables"] == Loaded(references=0, users=frozenset(), live=False)


def test_a_kernel_that_cannot_unload_counts_nothing():
    """Without CONFIG_MODULE_UNLOAD the columns of references and users hold a hyphen."""
    loaded = parse_proc_modules(b"nf_nat 57344 - - Live 0x0\n", WANTED)
    assert loaded["nf_nat"] == Loaded(references=None, users=frozenset(), live=True)


@pytest.mark.parametrize("line", [b"nf_nat 57344\n", b"nf_nat 57344 many - Live 0x0\n"])
def test_garbage_in_proc_modules_is_an_error(line: bytes):
    """A line of a wanted module that is not what the kernel prints gives no number."""
    with pytest.raises(ReadError, match="/proc/modules"):
        parse_proc_modules(line, WANTED)


def test_dep():
    """Names are those of the files, whatever their compression, with underscores."""
    content = (
        b"kernel/net/netfilter/nf_nat.ko.xz: kernel/net/netfilter/nf-conntrack.ko.xz"
        b" kernel/lib/libcrc32c.ko.xz\n"
        b"updates/nft-ct.ko:\n"
        b"kernel/drivers/net/veth.ko.zst:\n"
    )
    found = parse_dep(content, ("nf_nat", "nft_ct", "nf_tables"))
    assert found.needs == {
        "nf_nat": {"nf_conntrack", "libcrc32c"},
        "nft_ct": frozenset(),
    }
    assert found.paths == {
        "nf_nat": "kernel/net/netfilter/nf_nat.ko.xz",
        "nf_conntrack": "kernel/net/netfilter/nf-conntrack.ko.xz",
        "libcrc32c": "kernel/lib/libcrc32c.ko.xz",
        "nft_ct": "updates/nft-ct.ko",
    }


def test_builtin():
    """modules.builtin lists files, one a line."""
    content = b"kernel/net/netfilter/netfilter.ko\nkernel/net/ipv6/ipv6.ko\n"
    assert parse_builtin(content, ("netfilter", "nf_nat")) == {"netfilter"}


def test_aliases():
    """Only aliases that are wanted names count, exactly as they are written."""
    content = (
        b"# Aliases extracted from modules themselves.\n"
        b"alias nf_conntrack-2 nf_conntrack\n"
        b"alias ip_conntrack nf-conntrack\n"
        b"alias ipt_MASQUERADE xt_MASQUERADE\n"
    )
    assert parse_aliases(content, ("ip_conntrack", "nf_nat")) == {"ip_conntrack": "nf_conntrack"}


def write_symbols(tmp_path, content: bytes) -> str:
    """Return the path of a file like /proc/kallsyms."""
    path = tmp_path / "kallsyms"
    path.write_bytes(content)
    return str(path)


def builtin_symbols(path, wanted):
    """Return what is found by those who wait for the end."""
    symbols = BuiltinSymbols(path, wanted)
    symbols.search(60)
    assert symbols.done
    return symbols.found


def test_symbols_of_the_image_prove_what_is_built_in(tmp_path):
    """Whole names count, wherever the pieces in which the file is read begin."""
    filler = b"ffffffff81f2a510 t some_function\n" * 40_000
    path = write_symbols(
        tmp_path,
        filler + b"ffffffff81f2a510 t nfnetlink_rcv\n" + filler + b"0 T nf_tables_newrule_x\n",
    )
    wanted = ("nfnetlink_rcv", "nf_tables_newrule")
    assert builtin_symbols(path, wanted) == {"nfnetlink_rcv"}


def test_symbols_of_modules_prove_nothing(tmp_path):
    """A module may be gone at the next look: its symbols do not count."""
    path = write_symbols(
        tmp_path,
        b"0 t nfnetlink_rcv\n0 t nf_tables_newrule\t[nf_tables]\n0 t ctnetlink_new_conntrack\n",
    )
    wanted = ("nfnetlink_rcv", "nf_tables_newrule", "ctnetlink_new_conntrack")
    assert builtin_symbols(path, wanted) == {"nfnetlink_rcv"}


def test_a_slow_host_looks_for_symbols_in_parts(tmp_path, monkeypatch):
    """Each search goes on where the one before it has stopped, and closes the file at the end."""
    filler = b"ffffffff81f2a510 t some_function\n" * 40_000
    path = write_symbols(tmp_path, filler + b"0 t nfnetlink_rcv\n" + filler)
    ticks = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks))
    symbols = BuiltinSymbols(path, ("nfnetlink_rcv", "nf_tables_newrule"))
    searches, found = 0, []
    while not symbols.done:
        symbols.search(2)  # a clock that strikes each time it is looked at: one piece
        searches += 1
        found.append(set(symbols.found))
    assert searches == 12
    assert found[0] == set()
    assert found[-1] == {"nfnetlink_rcv"}


def test_without_kallsyms_there_is_no_data(tmp_path):
    """A kernel without CONFIG_KALLSYMS has no such file."""
    with pytest.raises(NoData):
        BuiltinSymbols(str(tmp_path / "kallsyms"), ("nfnetlink_rcv",))


@given(st.binary(max_size=300) | st.binary(max_size=100).map(PROC_MODULES.__add__))
def test_any_bytes_give_wanted_names_or_an_error(content: bytes):
    """No input makes anything but wanted names come out, or a ReadError."""
    names = {name.decode() for name in WANTED}
    assert set(parse_dep(content, names).needs) <= names
    assert parse_builtin(content, names) <= names
    assert set(parse_aliases(content, names)) <= names
    try:
        loaded = parse_proc_modules(content, WANTED)
    except ReadError:
        return
    assert set(loaded) <= names
