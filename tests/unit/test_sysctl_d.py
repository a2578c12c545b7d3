"""kernel/sysctl/sysctl_d.py: sysctl.d means here what it means to systemd-sysctl."""

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.errors import Denied, ReadError
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.sysctl import names as sysctl_names
from netfilter_exporter.kernel.sysctl import sysctl_d
from netfilter_exporter.kernel.sysctl.sysctl_d import (
    NotAssignment,
    Option,
    SysctlD,
    merge,
    parse_file,
    parse_number,
    settle,
)

MAX = "net/netfilter/nf_conntrack_max"
ACCT = "net/netfilter/nf_conntrack_acct"
KERNEL = (MAX, ACCT, "net/nf_conntrack_max", "net/ipv4/ip_forward", "net/ipv4/conf/all/forwarding")


def settled(*lines: str) -> dict[str, int]:
    """Return what `lines` of one file leave on a kernel that has the keys of KERNEL."""
    parsed = parse_file("\n".join(lines).encode(), "file")
    options = merge(option for option in parsed if isinstance(option, Option))
    return {key: setting.value for key, setting in settle(options, KERNEL).items()}


def test_the_later_line_wins():
    """An assignment takes the place of an earlier one of the same key, in either form."""
    assert settled(f"{MAX} = 1", "net.netfilter.nf_conntrack_max=2") == {MAX: 2}


def test_the_later_alias_wins():
    """Two names of one variable: the value that is written last stays."""
    assert settled("net.netfilter.nf_conntrack_max=1", "net.nf_conntrack_max=2") == {MAX: 2}
    assert settled("net.nf_conntrack_max=2", "net.netfilter.nf_conntrack_max=1") == {MAX: 1}
    forwarding = ("net.ipv4.ip_forward=1", "net.ipv4.conf.all.forwarding=0")
    assert settled(*forwarding) == {"net/ipv4/ip_forward": 0}


def test_saying_it_again_does_not_move_it():
    """systemd keeps the place of an assignment that is repeated with the same value."""
    lines = ("net.nf_conntrack_max=1", "net.netfilter.nf_conntrack_max=2", "net.nf_conntrack_max=1")
    assert settled(*lines) == {MAX: 2}


def test_a_bare_key_withdraws_an_assignment():
    """-key after key = value: nothing is written to it, by name or by glob."""
    assert settled("net.ipv4.ip_forward=1", "-net.ipv4.ip_forward") == {}
    assert settled("net.ipv4.ip_forward=1", "-net.ipv4.ip_forward", "net.ipv4.ip_*=1") == {}


def test_a_dash_with_a_value_is_an_assignment():
    """-key = value only says that a failure does not matter."""
    assert settled("- net.ipv4.ip_forward = 1") == {"net/ipv4/ip_forward": 1}


def test_a_glob_matches_what_the_kernel_has():
    """A pattern asks for the keys that are there, each part by itself."""
    assert settled("net.netfilter.nf_conntrack_*=5") == {MAX: 5, ACCT: 5}
    assert settled("n*=5", "net.*.nf_conntrack_helper=5", "net.[a-h]*.ip_forward=5") == {}


def test_an_explicit_key_is_not_a_globs():
    """The explicit value holds, wherever the glob stands."""
    assert settled(f"{ACCT}=1", "net.netfilter.nf_conntrack_acc?=0") == {ACCT: 1}


def test_the_later_glob_wins():
    """Two patterns for one key are written in their order."""
    assert settled("net.netfilter.nf_conntrack_*=1", "net.netfilter.nf_conntrack_m*=2")[MAX] == 2


def test_an_alias_is_no_explicit_setting():
    """A glob writes to one name of a variable although the other is given: the last one stays."""
    assert settled("net.nf_conntrack_max=1", "net.netfilter.nf_conntrack_m*=2") == {MAX: 2}


def test_forwarding_sets_every_interface():
    """ip_forward overwrites what was written to interfaces before it, not what comes after."""
    interface = "net/ipv4/conf/eth0/forwarding"
    assert settled(f"{interface}=1", "net.ipv4.ip_forward=0") == {"net/ipv4/ip_forward": 0}
    assert settled("net.ipv4.ip_forward=0", f"{interface}=1")[interface] == 1
    assert settled(f"{interface}=1", "net.ipv6.conf.all.forwarding=0")[interface] == 1


def test_a_value_that_is_no_number_changes_nothing():
    """The kernel refuses it: what another name wrote before stays."""
    assert settled("net.nf_conntrack_max=7", "net.netfilter.nf_conntrack_max=many") == {MAX: 7}
    assert settled(f"{MAX}=7", f"{MAX}=") == {}


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        ("# a = 1", []),
        ("  ; a = 1", []),
        ("", []),
        ("a.b = 1 # x", [("a/b", "1 # x", 1)]),
        ("a.b == 1", [("a/b", "= 1", 1)]),
        ("\t a/b\t=\t1 \r\nc=2", [("a/b", "1", 1), ("c", "2", 2)]),
        ("-a.*", [("a/*", None, 1)]),
    ],
)
def test_lines(line: str, parsed: list[tuple[str, str, int]]):
    """Comments begin a line; blanks around key and value do not matter."""
    options = [o for o in parse_file(line.encode(), "file") if isinstance(o, Option)]
    assert [(o.key, o.value, o.origin.line) for o in options] == parsed


def test_a_line_without_a_value_is_told():
    """What is no assignment is given with its file and line."""
    (wrong,) = parse_file(b"\nnet.ipv4.ip_forward", "/etc/sysctl.d/1.conf")
    assert isinstance(wrong, NotAssignment)
    assert str(wrong.origin) == "/etc/sysctl.d/1.conf:2"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("262144", 262144),
        ("0x10", 16),
        ("017", 15),
        ("-1", -1),
        ("31 # thirty", 31),
        ("0", 0),
        ("08", None),
        ("1_0", None),
        ("+1", None),
        ("1x", None),
        ("", None),
        ("9" * 19, None),
        ("\u0661", None),
    ],
)
def test_numbers_are_the_kernels(text: str, number: int):
    """Bases are told as strtoul(…, 0) does, and the first blank ends the number."""
    assert parse_number(text) == number


@given(st.text(max_size=30) | st.from_regex(r"-?(0x)?[0-9a-f]{1,30}( .*)?", fullmatch=True))
def test_any_text_gives_a_number_or_none(text: str):
    """A number fits into 64 bits."""
    number = parse_number(text)
    assert number is None or -(1 << 63) < number < 1 << 63


KEYS = st.sampled_from(
    ["", "-", "net.", "net/", "ipv4.", "conf/", "ip_forward", "forwarding", "*", "[", "]", "?", "="]
)


@given(
    st.binary(max_size=200)
    | st.lists(KEYS | st.just("\n"), max_size=30).map("".join).map(str.encode)
)
def test_any_bytes_give_settings_in_scope(content: bytes):
    """Whatever a file holds, it gives options or nothing, and settings are numbers."""
    parsed = list(parse_file(content, "file"))
    options = merge(o for o in parsed if isinstance(o, Option))
    for setting in settle(options, KERNEL).values():
        assert -(1 << 63) < setting.value < 1 << 63


# -- the tree of files -------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for directory in sysctl_d.DIRECTORIES:
        (tmp_path / directory[1:]).mkdir(parents=True)
    return tmp_path


def reader_of(root: Path) -> SysctlD:
    return SysctlD(Paths(rootfs=str(root)))


def read(reader: SysctlD) -> dict[str, int]:
    options = reader.read()
    return {key: setting.value for key, setting in settle(options.merged, KERNEL).items()}


def test_precedence_of_files(root: Path):
    """Files are applied by name; of namesakes the first directory's counts; a mask silences."""
    (root / "usr/lib/sysctl.d/10-a.conf").write_text("net.ipv4.ip_forward=1\n")
    (root / "run/sysctl.d/20-b.conf").write_text(f"{MAX}=2\n{ACCT}=1\n")
    (root / "usr/local/lib/sysctl.d/20-b.conf").write_text(f"{MAX}=3\n")
    (root / "lib/sysctl.d/05-c.conf").write_text(f"{MAX}=4\nnet.netfilter.nf_conntrack_helper=1\n")
    (root / "usr/lib/sysctl.d/90-d.conf").write_text(f"{ACCT}=0\n")
    (root / "etc/sysctl.d/90-d.conf").symlink_to("/dev/null")
    (root / "etc/sysctl.d/10-a.conf").write_text("")
    assert read(reader_of(root)) == {
        MAX: 2,
        ACCT: 1,
        "net/netfilter/nf_conntrack_helper": 1,
    }


@pytest.mark.parametrize("target", ["../sysctl.conf", "/etc/sysctl.conf"])
def test_sysctl_conf_counts_only_where_it_is_linked(root: Path, target: str):
    """systemd-sysctl does not read /etc/sysctl.conf; Debian 12's link makes it, below our root."""
    (root / "etc/sysctl.conf").write_text("net.ipv4.ip_forward=1\n")
    reader = reader_of(root)
    assert read(reader) == {}
    (root / "etc/sysctl.d/99-sysctl.conf").symlink_to(target)
    assert read(reader) == {"net/ipv4/ip_forward": 1}
    (root / "etc/sysctl.conf").write_text("net.ipv4.ip_forward=10\n")
    assert read(reader) == {"net/ipv4/ip_forward": 10}


def test_the_origin_is_the_hosts_name_of_the_file(root: Path):
    """A person is told the file as the host calls it, and the line."""
    (root / "etc/sysctl.d/1.conf").write_text(f"# limit\n{MAX}=1\n")
    option = reader_of(root).read().merged[MAX]
    assert str(option.origin) == "/etc/sysctl.d/1.conf:2"


def test_files_are_read_again_only_after_a_change(root: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing is opened while nothing changed; a new, a changed and a removed file are seen."""
    opened = []
    original = sysctl_d.read_bytes
    monkeypatch.setattr(
        sysctl_d, "read_bytes", lambda path: (opened.append(path), original(path))[1]
    )
    reader = reader_of(root)
    file = root / "etc/sysctl.d/1.conf"
    file.write_text(f"{MAX}=1\n")
    assert read(reader) == read(reader) == {MAX: 1}
    assert len(opened) == 1
    file.write_text(f"{MAX}=10\n")
    assert read(reader) == {MAX: 10}
    file.unlink()
    assert read(reader) == {}


def test_a_denied_file_keeps_the_others(root: Path, monkeypatch: pytest.MonkeyPatch):
    """What cannot be read is an error beside what could be, also when nothing changed since."""
    (root / "etc/sysctl.d/1.conf").write_text(f"{MAX}=1\n")
    (root / "etc/sysctl.d/2.conf").write_text(f"{ACCT}=1\n")
    original = sysctl_d.read_bytes

    def deny(path: str) -> bytes:
        if path.endswith("2.conf"):
            raise Denied(f"{path}: Permission denied")
        return original(path)

    monkeypatch.setattr(sysctl_d, "read_bytes", deny)
    reader = reader_of(root)
    for _ in range(2):
        assert read(reader) == {MAX: 1}
        assert [type(e) for e in reader.read().errors] == [Denied]


def test_a_failure_that_may_pass_is_tried_again(root: Path):
    """A file that was too large to be one is read once it is not: nothing is remembered of it."""
    file = root / "etc/sysctl.d/1.conf"
    file.write_bytes(b"#" * ((1 << 20) + 1))
    reader = reader_of(root)
    (error,) = reader.read().errors
    assert isinstance(error, ReadError)
    file.write_text(f"{MAX}=1\n")
    assert read(reader) == {MAX: 1}


def test_a_pipe_is_not_opened(root: Path):
    """What is no regular file asks for nothing and never blocks."""
    os.mkfifo(root / "etc/sysctl.d/1.conf")
    options = reader_of(root).read()
    assert (options.merged, options.errors) == ({}, ())


def test_a_malformed_line_is_logged_once(root: Path, caplog: pytest.LogCaptureFixture):
    """It is ignored, and told at debug with file and line until the file changes."""
    (root / "etc/sysctl.d/1.conf").write_text(f"nonsense\n{MAX}=1\n")
    reader = reader_of(root)
    with caplog.at_level(logging.DEBUG):
        assert read(reader) == read(reader) == {MAX: 1}
    assert [r.getMessage().split(": ")[0] for r in caplog.records] == ["/etc/sysctl.d/1.conf:1"]


def test_keys_out_of_scope_are_not_kept(root: Path):
    """Memory does not grow with what does not concern us."""
    (root / "etc/sysctl.d/1.conf").write_text("kernel.pid_max=1\nvm.swappiness=2\n")
    assert reader_of(root).read().merged == {}
    assert not sysctl_names.in_scope("kernel/pid_max")


def test_the_files_of_an_image_are_not_the_hosts(monkeypatch: pytest.MonkeyPatch):
    """A container that does not see the host's root asks for nothing, whatever its image says."""
    monkeypatch.setattr(sysctl_d, "shows_host", lambda *_: False)
    listed = []
    monkeypatch.setattr(os, "scandir", listed.append)
    assert SysctlD(Paths()).read().merged == {}
    assert listed == []
