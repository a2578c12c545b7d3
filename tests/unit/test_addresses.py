"""kernel/addresses.py: which addresses are this host's own."""

import contextlib
import ipaddress
import struct

import pytest
from hypothesis import given

from netfilter_exporter.kernel import addresses
from netfilter_exporter.kernel.errors import Malformed, ReadError
from netfilter_exporter.kernel.netlink.attributes import pack
from netfilter_exporter.rules.families import Family
from support import corpus
from support.script import connect, done, dumped


def packed(text):
    return ipaddress.ip_address(text).packed


def newaddr(**attributes):
    """Return an RTM_NEWADDR as the kernel fills it."""
    types = {"address": 1, "local": 2}
    body = struct.pack("=BBBBI", 2, 24, 0, 0, 3)
    return body + b"".join(pack(types[name], packed(text)) for name, text in attributes.items())


def test_the_near_end_of_a_link_is_ours():
    """On a point-to-point link IFA_ADDRESS is the peer's; IPv6 has no IFA_LOCAL without a peer."""
    connection, script = connect(
        [
            dumped(newaddr(address="192.0.2.1", local="192.0.2.2"), newaddr(address="10.0.0.1")),
            done(),
        ],
        [dumped(newaddr(address="2001:db8::1")), done()],
    )
    numbers = {int(ipaddress.ip_address(text)) for text in ("192.0.2.2", "10.0.0.1")}
    assert addresses.read_addresses(connection, Family.IPV4) == numbers
    assert addresses.read_addresses(connection, Family.IPV6) == {
        int(ipaddress.ip_address("2001:db8::1"))
    }
    assert [request.payload[0] for request in script.requests] == [2, 10]
    assert {request.type for request in script.requests} == {22}


def test_an_answer_without_an_address_is_malformed():
    with pytest.raises(Malformed):
        addresses.parse_address(memoryview(newaddr()))


@given(corpus.mutated([newaddr(address="10.0.0.1")]))
def test_any_bytes_make_an_address_or_an_error(content):
    """No bytes make anything else."""
    with contextlib.suppress(ReadError):
        assert isinstance(addresses.parse_address(memoryview(content)), bytes)
