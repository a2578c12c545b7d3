"""kernel/modules/modprobe.py: what really stops a module, read as modprobe reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.modules.modprobe import (
    Install,
    parse_cmdline,
    parse_install,
    stopped_by_install,
)

NAMES = ("nf_conntrack", "nf_nat", "nft_masq")


def stopped(content: bytes) -> frozenset[str]:
    """Return which of NAMES the rules of one file stop."""
    return stopped_by_install(parse_install(content), NAMES)


@pytest.mark.parametrize(
    "line",
    [
        b"install nf_nat /bin/false",
        b"install nf_nat /bin/true",
        b"install nf_nat /usr/bin/true",
        b"install nf_nat :",
        b"install nf_nat exit 0",
        b"install nf_nat false; logger blocked",
        b"\tinstall   nf_nat\t/bin/false  ",
        b"install nf-nat /bin/false",
        b"install nf_na? /bin/false",
        b"install nf\\\n_nat \\\n /bin/false",
    ],
)
def test_a_command_that_loads_nothing_stops_the_module(line: bytes):
    """The usual spellings of a block are recognised, with hyphens, wildcards and continuations."""
    assert stopped(b"# hardening\n" + line + b"\n") == {"nf_nat"}


@pytest.mark.parametrize(
    "line",
    [
        b"blacklist nf_nat",
        b"# install nf_nat /bin/false",
        b"#\\\ninstall nf_nat /bin/false",
        b"install nf_nat",
        b"install nf_nat /sbin/modprobe --ignore-install nf_nat",
        b"install nf_nat true && modprobe -i nf_nat",
        b"install nf_nat /usr/local/bin/load-it",
        b"remove nf_nat /bin/false",
        b"options nf_nat install nf_nat /bin/false",
        b"alias nf_nat off",
    ],
)
def test_everything_else_does_not(line: bytes):
    """A blacklist line only mutes aliases, and a command may load the module after all."""
    assert stopped(line + b"\n") == frozenset()


def test_the_first_line_that_matches_counts():
    """As in modprobe, a later line for the same module is not looked at."""
    assert stopped(b"install nf_nat /sbin/modprobe -i nf_nat\ninstall nf_* /bin/false\n") == {
        "nf_conntrack"
    }


def test_brackets_keep_their_hyphen():
    """In a bracket a hyphen is a range, elsewhere it is an underscore."""
    assert stopped(b"install nf-[a-n]at /bin/false\n") == {"nf_nat"}


@pytest.mark.parametrize(
    ("cmdline", "names"),
    [
        (b"quiet module_blacklist=nf_nat,nft_masq ro\n", {"nf_nat", "nft_masq"}),
        (b"module-blacklist=nf_nat", {"nf_nat"}),
        (b'module_blacklist="nf_nat,nft_ct"', {"nf_nat", "nft_ct"}),
        (b"module_blacklist=nf_nat module_blacklist=nft_ct", {"nft_ct"}),
        (b"module_blacklist=nf-nat", {"nf-nat"}),
        (b"modprobe.blacklist=nf_nat", set()),
        (b"init=/bin/sh -- module_blacklist=nf_nat", set()),
        (b"module_blacklist", set()),
    ],
)
def test_the_kernel_command_line(cmdline: bytes, names: set[str]):
    """module_blacklist= names modules as the kernel compares them; what is init's is left alone."""
    assert parse_cmdline(cmdline) == names


@given(st.binary(max_size=300))
def test_any_bytes_are_read(content: bytes):
    """No file makes the parsers fail, and only asked names come out."""
    assert stopped(content) <= set(NAMES)
    assert all(isinstance(name, str) and name for name in parse_cmdline(content))


@given(st.text(max_size=200), st.text(max_size=50))
def test_any_rule_can_be_matched(pattern: str, command: str):
    """No pattern or command makes matching fail."""
    assert stopped_by_install([Install(pattern, command)], NAMES) <= set(NAMES)
