"""kernel/route.py: the ways that packets may take, and whose network an address is in."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel import route
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.netlink.attributes import pack

GATEWAY = pack(route.RTA_GATEWAY, bytes(4))


def out(index):
    return pack(route.RTA_OIF, struct.pack("=I", index))


def hops(*indices):
    """Return the next hops of a route, each with a gateway."""
    parts = (struct.pack("=HBBi", 8 + len(GATEWAY), 0, 0, index) + GATEWAY for index in indices)
    return pack(route.RTA_MULTIPATH, b"".join(parts))


def answer(*attributes, length=24, protocol=route.RTPROT_KERNEL, type_=route.RTN_UNICAST):
    head = struct.pack("=8BI", 2, length, 0, 0, 254, protocol, 0, type_, 0)
    return memoryview(head + b"".join(attributes))


@pytest.mark.parametrize(
    ("payload", "ways"),
    [
        (answer(out(3), GATEWAY), (3,)),
        (answer(hops(3, 4, 3)), (3, 4)),
        (answer(out(1), type_=route.RTN_LOCAL), ()),
        (answer(), ()),
    ],
    ids=["one", "several", "local", "nowhere"],
)
def test_all_ways_of_a_route(payload, ways):
    """Each next hop counts once."""
    assert route.parse_ways(payload) == ways


@pytest.mark.parametrize(
    ("payload", "interface"),
    [
        (answer(out(3)), 3),
        (answer(out(3), GATEWAY), None),
        (answer(out(3), length=0), None),
        (answer(out(3), length=32), None),
        (answer(out(3), protocol=4), None),
        (answer(out(1), type_=route.RTN_LOCAL), None),
        (answer(hops(3, 4)), None),
    ],
    ids=["connected", "gateway", "default", "old-kernel", "static", "local", "several"],
)
def test_whose_network_an_address_is_in(payload, interface):
    """Only what the kernel made for an interface's own address counts."""
    assert route.parse_connected(payload, 32) == interface


@given(st.binary(max_size=96))
def test_any_bytes_are_ways_or_an_error(content):
    """Nothing else comes out."""
    with contextlib.suppress(ReadError):
        assert isinstance(route.parse_ways(memoryview(content)), tuple)
    with contextlib.suppress(ReadError):
        found = route.parse_connected(memoryview(content), 32)
        assert found is None or isinstance(found, int)
