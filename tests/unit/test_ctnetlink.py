"""kernel/conntrack/ctnetlink.py: statistics, and exactly one's own entry."""

import errno
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.conntrack import ctnetlink
from netfilter_exporter.kernel.conntrack.statistics import COLUMNS
from netfilter_exporter.kernel.errors import Malformed, ReadError, Status, Unsupported
from netfilter_exporter.kernel.netlink.attributes import attribute_map, nest, pack
from netfilter_exporter.kernel.netlink.messages import NetlinkError, nfgenmsg, nfnetlink_map
from netfilter_exporter.rules.families import Family
from support import corpus, wire
from support.script import connect, done, dumped

FLOW = ctnetlink.Tuple(Family.IPV4, "127.0.0.1", 40000, 40001)
ENTRY = ctnetlink.message(FLOW) + pack(ctnetlink.CTA_ID, b"\xde\xad\xbe\xef")
STATES = ("4.9/nat-legacy", "5.10/nat-nft", "7.2/nat-legacy")


@pytest.mark.parametrize(
    ("family", "address", "attributes"),
    [(Family.IPV4, "127.0.0.1", (1, 2)), (Family.IPV6, "::1", (3, 4))],
)
def test_a_tuple_says_all_that_the_kernel_compares(family, address, attributes):
    """Both addresses, the protocol and both ports, in network order."""
    flow = ctnetlink.Tuple(family, address, 40000, 65535)
    found = attribute_map(
        nfnetlink_map(memoryview(ctnetlink.message(flow)))[ctnetlink.CTA_TUPLE_ORIG]
    )
    ip, proto = (
        {type_: bytes(value) for type_, value in attribute_map(found[part]).items()}
        for part in (ctnetlink.CTA_TUPLE_IP, ctnetlink.CTA_TUPLE_PROTO)
    )
    assert ip == dict.fromkeys(attributes, socket.inet_pton(family.nfproto, address))
    assert proto == {1: bytes([socket.IPPROTO_UDP]), 2: b"\x9c\x40", 3: b"\xff\xff"}


def test_an_entry_is_found_by_its_tuple():
    """What identifies it is returned, so that no other is deleted in its place."""
    connection, script = connect([dumped(ENTRY)])
    assert ctnetlink.find_entry(connection, FLOW) == b"\xde\xad\xbe\xef"
    assert script.requests[0].payload == ctnetlink.message(FLOW)


def test_an_entry_without_an_identity_is_an_entry():
    """CTA_ID is not what proves it."""
    connection, _ = connect([dumped(ctnetlink.message(FLOW))])
    assert ctnetlink.find_entry(connection, FLOW) == b""


def test_no_entry_is_none():
    """ENOENT is an answer, not a failure."""
    connection, _ = connect([wire.error(errno.ENOENT)])
    assert ctnetlink.find_entry(connection, FLOW) is None


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EPERM, NetlinkError), (errno.EINVAL, Unsupported)]
)
def test_a_refusal_is_not_taken_for_no_entry(number, kind):
    """Not being allowed to look proves nothing, nor does a kernel without ctnetlink."""
    connection, _ = connect([wire.error(number)])
    with pytest.raises(kind):
        ctnetlink.find_entry(connection, FLOW)


@pytest.mark.parametrize("answer", [dumped(nfgenmsg(2)), done(), wire.error(0), dumped(b"")])
def test_an_answer_without_a_tuple_is_malformed(answer):
    """Anything but an entry or ENOENT is an error."""
    connection, _ = connect([answer])
    with pytest.raises(Malformed):
        ctnetlink.find_entry(connection, FLOW)


@pytest.mark.parametrize("identity", [b"\xde\xad\xbe\xef", b""])
def test_exactly_one_entry_is_deleted(identity):
    """The request names the tuple, without which the kernel would empty its table."""
    connection, script = connect([wire.error(0)])
    ctnetlink.delete_entry(connection, FLOW, identity)
    asked = attribute_map(memoryview(script.requests[0].payload), 4)
    assert asked.pop(ctnetlink.CTA_TUPLE_ORIG) is not None
    assert {type_: bytes(value) for type_, value in asked.items()} == (
        {ctnetlink.CTA_ID: identity} if identity else {}
    )


def test_an_entry_that_is_gone_is_deleted():
    """It may have been evicted in between: that is no failure."""
    connection, _ = connect([wire.error(errno.ENOENT)])
    ctnetlink.delete_entry(connection, FLOW, b"")


def test_a_deletion_that_is_refused_is_told():
    """A mark that stays behind is not kept quiet."""
    connection, _ = connect([wire.error(errno.EPERM)])
    with pytest.raises(NetlinkError) as caught:
        ctnetlink.delete_entry(connection, FLOW, b"")
    assert caught.value.status is Status.DENIED


@pytest.mark.parametrize("state", STATES)
def test_statistics_are_those_of_each_cpu(state):
    """What a kernel sent is told by the numbers of its attributes."""
    payloads = corpus.payloads("ctnetlink-get_stats_cpu", (state,))
    connection, _ = connect([dumped(*payloads), done()])
    for cpu in ctnetlink.read_statistics(connection):
        assert {"drop", "early_drop", "insert_failed", "invalid", "nat_collision"} <= set(cpu)
        assert not any(name.startswith("expect") for name in cpu)
        assert ("chain_too_long" in cpu) == state.startswith("7.2")


@given(corpus.mutated(corpus.payloads("ctnetlink-get_stats_cpu", STATES)) | st.binary(max_size=60))
def test_any_bytes_make_statistics_or_an_error(content):
    """No bytes make anything but u32 values of known names, or a ReadError."""
    try:
        cpu = ctnetlink.parse_statistics(memoryview(content))
    except ReadError:
        return
    assert set(cpu) <= {column.name for column in COLUMNS}
    assert all(0 <= value < 1 << 32 for value in cpu.values())


@given(corpus.mutated([ENTRY, nfgenmsg(2) + nest(1, pack(1, b""))]))
def test_any_bytes_make_an_entry_or_an_error(content):
    """No bytes make anything but the identity of an entry, or a ReadError."""
    connection, _ = connect([dumped(content)])
    try:
        identity = ctnetlink.find_entry(connection, FLOW)
    except ReadError:
        return
    assert isinstance(identity, bytes)
