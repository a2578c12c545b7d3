"""kernel/modules/modprobe.py: what really stops a module, read as modprobe reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.modules.modprobe import Rule, parse_cmdline, parse_rules
from netfilter_exporter.kernel.modules.modprobe import stopped as stopped_by

NAMES = ("nf_conntrack", "nf_nat", "nft_masq")


def stopped(content: bytes) -> set[str]:
    """Return which of NAMES the rules of one file stop; nft_masq is requested by an alias."""
    return set(stopped_by(parse_rules(content), NAMES, ("nft_masq",)))


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
    assert stopped(line + b"\n") == set()


@pytest.mark.parametrize("line", [b"blacklist nft_masq", b" blacklist  nft-masq "])
def test_blacklist_stops_what_is_requested_by_an_alias(line: bytes):
    """Nothing requests nft_masq by its name: without its aliases it is never loaded."""
    assert stopped(line + b"\n") == {"nft_masq"}


def test_every_line_that_must_go_is_named():
    """When the first install line is gone the next one counts, up to one that loads."""
    content = (
        b"# hardening\n"
        b"install nf_nat \\\n/bin/false\n"
        b"install nf_* /bin/true\n"
        b"install nf_nat /sbin/modprobe -i nf_nat\n"
        b"install nf_nat /bin/false\n"
    )
    rules = stopped_by(parse_rules(content, "/etc/modprobe.d/a.conf"), NAMES)["nf_nat"]
    assert [(rule.file, rule.first, rule.last, str(rule)) for rule in rules] == [
        ("/etc/modprobe.d/a.conf", 2, 3, "install nf_nat /bin/false"),
        ("/etc/modprobe.d/a.conf", 4, 4, "install nf_* /bin/true"),
    ]


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
        (b'module_blacklist="nf_nat,nft_ct"', {"nf_nat"}),
        (b"module_blacklist=nf_nat module_blacklist=nft_ct", set()),
        (b"module_blacklist=nf-nat", set()),
        (b"modprobe.blacklist=nf_nat", set()),
        (b"modprobe.blacklist=nf_nat,nft-masq", {"nft_masq"}),
        (b"modprobe.blacklist=nft_masq modprobe.blacklist=nf_nat", {"nft_masq"}),
        (b"init=/bin/sh -- module_blacklist=nf_nat", set()),
        (b"module_blacklist", set()),
    ],
)
def test_the_kernel_command_line(cmdline: bytes, names: set[str]):
    """module_blacklist= stops modules by their exact names, modprobe.blacklist= aliases alone."""
    assert set(stopped_by(parse_cmdline(cmdline), NAMES, ("nft_masq",))) == names


@given(st.binary(max_size=300))
def test_any_bytes_are_read(content: bytes):
    """No file makes the parsers fail, and only asked names come out."""
    assert stopped(content) <= set(NAMES)
    assert all(rule.pattern for rule in parse_cmdline(content))


@given(st.text(max_size=200), st.text(max_size=50))
def test_any_rule_can_be_matched(pattern: str, command: str):
    """No pattern or command makes matching fail."""
    assert set(stopped_by([Rule("install", pattern, command)], NAMES)) <= set(NAMES)
