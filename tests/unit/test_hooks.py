"""kernel/conntrack/hooks.py: tracking, told from the functions at the hooks."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.conntrack import hooks
from netfilter_exporter.kernel.errors import ReadError, Status, Unsupported
from netfilter_exporter.kernel.netlink.attributes import pack
from netfilter_exporter.kernel.netlink.messages import NetlinkError, nfgenmsg
from netfilter_exporter.rules.families import Family, Hook
from support import corpus, recording, wire
from support.script import connect, done, dumped

RECORDED = recording.load("7.2/nat-legacy").exchanges


def function(name):
    """Return the message that lists a function."""
    return nfgenmsg(2) + pack(1, bytes(4)) + pack(4, name.encode() + b"\0")


@pytest.mark.parametrize(("short", "family", "tracked"), [("ip", "IPV4", True), ("ip6", "IPV6", 0)])
def test_tracking_is_told_for_each_family(short, family, tracked):
    """A host with IPv4 NAT alone tracks IPv4 alone."""
    connection, _ = connect(list(RECORDED[f"hook-{short}-0"].datagrams))
    assert hooks.tracks(connection, Family[family]) == tracked


def test_the_hook_that_is_asked_for_is_prerouting():
    """The question names the family and the hook."""
    connection, script = connect([done()])
    hooks.tracks(connection, Family.IPV6)
    assert script.requests[0].type == 12 << 8
    assert script.requests[0].payload == nfgenmsg(10) + pack(1, bytes(4))
    assert Hook.PREROUTING == 0


@pytest.mark.parametrize(
    "names",
    [[], ["ipv4_conntrack_defrag"], ["nft_do_chain_ipv4", "nf_nat_ipv4_pre_routing"]],
)
def test_other_functions_are_no_tracking(names):
    """Defragmentation, rules and NAT are at the hook of a host that does not track, too."""
    connection, _ = connect([dumped(*map(function, names)), done()])
    assert not hooks.tracks(connection, Family.IPV4)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_kernel_that_cannot_list_is_unsupported(number):
    """An empty list of hooks must never stand for one that could not be asked for."""
    connection, _ = connect([wire.error(number)])
    with pytest.raises(Unsupported, match="nfnetlink_hook"):
        hooks.tracks(connection, Family.IPV4)


def test_a_kernel_that_hides_names_is_unsupported():
    """Without CONFIG_KALLSYMS nothing can be told from the list."""
    nameless = nfgenmsg(2) + pack(1, bytes(4))
    connection, _ = connect([dumped(nameless, nameless), done()])
    with pytest.raises(Unsupported, match="CONFIG_KALLSYMS"):
        hooks.tracks(connection, Family.IPV4)


def test_not_being_allowed_is_denied():
    """A user is told what is missing."""
    connection, _ = connect([wire.error(errno.EPERM)])
    with pytest.raises(NetlinkError) as caught:
        hooks.tracks(connection, Family.IPV4)
    assert caught.value.status is Status.DENIED


@given(corpus.mutated(corpus.payloads("hook-ip-0", ("7.2/nat-legacy",))) | st.binary(max_size=40))
def test_any_bytes_make_a_name_or_an_error(content):
    """No bytes make anything but a name, or a ReadError."""
    try:
        name = hooks.parse_function(memoryview(content))
    except ReadError:
        return
    assert isinstance(name, str)
