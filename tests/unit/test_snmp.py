"""kernel/snmp.py: counters by name, whatever the kernel lists beside them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel import snmp
from netfilter_exporter.kernel.errors import Malformed, NoData, ReadError
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.snmp import IPV4, parse_lines, parse_sections
from support import corpus, recording

OLD = (
    b"Ip: Forwarding DefaultTTL InAddrErrors ForwDatagrams OutRequests\n"
    b"Ip: 2 64 3 4 5\n"
    b"Tcp: RtoAlgorithm MaxConn\n"
    b"Tcp: 1 -1\n"
)
NETSTAT = b"TcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 0 7\nIpExt: InOctets\nIpExt: 1\n"
WANTED = IPV4["net/snmp"]
FILES = {
    name: [entry.content for entry in recording.load("7.2/nat-nft").files if entry.path == name]
    for name in ("proc/net/snmp", "proc/net/netstat", "proc/net/snmp6")
}


def parse(content):
    """Return the counters of a /proc/net/snmp."""
    return parse_sections(content, WANTED, "snmp")


def test_counters_are_found_by_name():
    """A counter that this kernel does not have is not there, rather than 0."""
    assert parse(OLD) == {"in_address_errors": 3, "forwarded": 4, "out_requests": 5}
    new = OLD.replace(b"OutRequests\n", b"OutRequests OutTransmits\n").replace(b"4 5\n", b"4 5 6\n")
    assert parse(new)["out_transmitted"] == 6


def test_a_counter_has_64_bits():
    """The largest value is kept."""
    assert parse(OLD.replace(b" 4 ", b" 18446744073709551615 "))["forwarded"] == (1 << 64) - 1


@pytest.mark.parametrize(
    "content",
    [
        OLD[: OLD.index(b"\n") + 1],
        OLD.replace(b"Ip: 2 64 3", b"Ip: 2 64"),
        OLD.replace(b"Ip: 2", b"Udp: 2"),
        OLD.replace(b" 4 ", b" -4 "),
        OLD.replace(b" 4 ", b" four "),
        OLD.replace(b" 4 ", b" " + b"4" * 5000 + b" "),
    ],
    ids=["no values", "a value short", "another section", "negative", "a word", "endless"],
)
def test_garbage_is_an_error(content):
    """A file that is not what the kernel promises gives no number at all."""
    with pytest.raises(Malformed, match="snmp: "):
        parse(content)


def test_ipv6_counters_are_lines():
    """Each line is a name and a value; only ours are kept."""
    content = b"Ip6InReceives   \t1\nIp6OutForwDatagrams\t2\nIp6InAddrErrors 3\n"
    assert parse_lines(content, "snmp6") == {"forwarded": 2, "in_address_errors": 3}


@pytest.mark.parametrize(
    "content",
    [
        b"Ip6OutRequests\n",
        b"Ip6OutRequests 1 2\n",
        b"\n",
        b"Ip6InReceives 1 Ip6OutRequests\n2\n",
    ],
)
def test_a_line_that_is_no_pair_is_an_error(content):
    """A line of snmp6 that was cut gives no number."""
    with pytest.raises(Malformed, match="snmp6: "):
        parse_lines(content, "snmp6")


@given(corpus.mutated([OLD, *FILES["proc/net/snmp"]]) | st.binary(max_size=200))
def test_any_sections_are_counters_or_an_error(content):
    """No bytes make anything but counters of known names, or a ReadError."""
    try:
        counters = parse(content)
    except ReadError:
        return
    assert set(counters) <= set(WANTED[b"Ip"].values())
    assert all(value >= 0 for value in counters.values())


@given(corpus.mutated(FILES["proc/net/snmp6"]) | st.binary(max_size=200))
def test_any_lines_are_counters_or_an_error(content):
    """No bytes make anything but counters of known names, or a ReadError."""
    try:
        counters = parse_lines(content, "snmp6")
    except ReadError:
        return
    assert set(counters) <= set(snmp.IPV6.values())
    assert all(value >= 0 for value in counters.values())


def test_both_files_are_read(tmp_path):
    """Forwarding stands in one file, reverse path filtering in the other."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net/snmp").write_bytes(OLD)
    (tmp_path / "net/netstat").write_bytes(NETSTAT)
    counters = snmp.read_ipv4(Paths(str(tmp_path)))
    assert (counters["forwarded"], counters["reverse_path_filtered"]) == (4, 7)


def test_a_kernel_without_ipv6_has_no_file(tmp_path):
    """Its absence is no failure."""
    with pytest.raises(NoData):
        snmp.read_ipv6(Paths(str(tmp_path)))
