"""kernel/nft/helpers.py: the objects that rules assign helpers by."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.netlink.attributes import nest, pack
from netfilter_exporter.kernel.nft import uapi
from netfilter_exporter.kernel.nft.helpers import HelperObject, parse_helper


def message(kind, use, name=b"ftp\0"):
    data = nest(uapi.NFTA_OBJ_DATA, pack(uapi.NFTA_CT_HELPER_NAME, name))
    numbers = (uapi.NFTA_OBJ_TYPE, kind), (uapi.NFTA_OBJ_USE, use)
    packed = b"".join(pack(type_, number.to_bytes(4, "big")) for type_, number in numbers)
    return memoryview(bytes(4) + packed + data)


def test_an_object_and_whether_it_is_used():
    """Its helper by the kernel's name, and whether anything refers to it."""
    assert parse_helper(message(uapi.NFT_OBJECT_CT_HELPER, 0)) == HelperObject("ftp", used=False)
    assert parse_helper(message(uapi.NFT_OBJECT_CT_HELPER, 2)) == HelperObject("ftp", used=True)


def test_another_object():
    """A kernel that does not filter sends counters too."""
    assert parse_helper(message(uapi.NFT_OBJECT_COUNTER, 1)) is None


@given(st.binary())
def test_any_bytes_are_an_object_or_an_error(content):
    """Nothing else comes out."""
    with contextlib.suppress(ReadError):
        found = parse_helper(memoryview(content))
        assert found is None or isinstance(found, HelperObject)
