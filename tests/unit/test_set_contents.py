"""kernel/nft/sets.py, ipset.py, neighbors.py and vrrp.py: bytes in, values out."""

import contextlib
import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.facts import set_contents
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.kernel import ipset, neighbors, vrrp
from netfilter_exporter.kernel.errors import ReadError, TimedOut, Unsupported
from netfilter_exporter.kernel.netlink.attributes import nest, pack, pack_name
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import HEADER, nfgenmsg
from netfilter_exporter.kernel.nft import uapi
from netfilter_exporter.kernel.nft.sets import SetContents, read_contents
from netfilter_exporter.rules.families import IPV4
from support import wire

KEY = ((2, "nat"), "clients")


class Kernel:
    """Answers each request with the next of `answers`, a list of datagrams."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self._queue = []

    def send(self, datagram):
        sequence = HEADER.unpack_from(datagram)[3]
        self._queue = [wire.with_sequence(a, sequence) for a in self._answers.pop(0)]

    def receive(self, _):
        return memoryview(self._queue.pop(0))

    def close(self):
        pass


def connection(*answers):
    return Connection(Kernel(*answers), 5.0, lambda: 0.0)


def element(key=b"\n\0\0\1", flags=0, timeout=None, left=None):
    found = [pack(uapi.NFTA_SET_ELEM_FLAGS, struct.pack(">I", flags))] if flags else []
    if not flags & uapi.NFT_SET_ELEM_CATCHALL:
        found.append(nest(uapi.NFTA_SET_ELEM_KEY, pack(uapi.NFTA_DATA_VALUE, key)))
    if timeout is not None:
        found.append(pack(uapi.NFTA_SET_ELEM_TIMEOUT, struct.pack(">Q", timeout)))
        found.append(pack(uapi.NFTA_SET_ELEM_EXPIRATION, struct.pack(">Q", left)))
    return nest(1, *found)


def contents(*elements, flags=0):
    """Return what is read of a set with these elements."""
    described = nfgenmsg(2) + pack(uapi.NFTA_SET_FLAGS, struct.pack(">I", flags))
    listed = nfgenmsg(2) + nest(uapi.NFTA_SET_ELEM_LIST_ELEMENTS, *elements)
    messages = [wire.message(0x0A0C, wire.NLM_F_MULTI, listed)] if elements else []
    asked = connection([wire.message(0x0A09, 0, described)], [*messages, wire.done()])
    return read_contents(asked, KEY)


@pytest.mark.parametrize(
    ("elements", "flags", "expected"),
    [
        ([], 0, SetContents(empty=True, changes=False, keys=())),
        ([element()], 0, SetContents(empty=False, changes=False, keys=(b"\n\0\0\1",))),
        # What an emptied interval set lists.
        ([element(flags=1)], 0x4, SetContents(empty=True, changes=False, keys=None)),
        ([element(), element(flags=1)], 0x4, SetContents(empty=False, changes=False, keys=None)),
        # An element for every other key.
        ([element(flags=2)], 0x8, SetContents(empty=False, changes=False, keys=None)),
        ([element(timeout=9, left=0)], 0x10, SetContents(empty=True, changes=True, keys=())),
        (
            [element(timeout=9, left=4)],
            0x20,
            SetContents(empty=False, changes=True, keys=(b"\n\0\0\1",)),
        ),
    ],
    ids=["empty", "one", "emptied-interval", "interval", "wildcard", "expired", "dynamic"],
)
def test_what_a_set_holds(elements, flags, expected):
    """Ends of intervals and expired elements do not count; a wildcard does."""
    assert contents(*elements, flags=flags) == expected


def test_a_large_set_is_not_read_to_its_end():
    """Some kilobytes tell that it holds something; its keys are unknown then."""
    many = [element() for _ in range(600)]
    found = contents(*many)
    assert (found.empty, found.keys) == (False, None)


def test_a_set_that_was_late_is_read_again(fake_host, monkeypatch):
    """In the next scrape, though the ruleset is the same."""
    contents_of = iter([TimedOut("late"), SetContents(empty=True, changes=False, keys=())])

    def read(*_):
        found = next(contents_of)
        if isinstance(found, ReadError):
            raise found
        return found

    monkeypatch.setattr(set_contents, "read_contents", read)
    host = Host(fake_host("6.18/nat-nft").system)

    def scrape():
        with contextlib.closing(host.snapshot(5.0)) as snapshot:
            return set_contents.SetReader(snapshot).read(IPV4, "nat", "clients")

    assert scrape() is None
    assert scrape().empty


@given(st.lists(st.binary(max_size=64), max_size=3), st.binary(max_size=64))
def test_any_bytes_are_contents_or_an_error(elements, described):
    """Nothing else comes out of what the kernel might send."""
    listed = b"".join(nfgenmsg(2) + each for each in elements)
    asked = connection(
        [wire.message(0x0A09, 0, described)], [wire.message(0x0A0C, 0, listed), wire.done()]
    )
    with contextlib.suppress(ReadError):
        assert isinstance(read_contents(asked, KEY), SetContents)


def header(elements):
    data = nest(7, pack(24, struct.pack(">I", elements))) if elements is not None else b""
    return wire.message(0x0607, wire.NLM_F_MULTI, nfgenmsg(2) + pack_name(2, "pools") + data)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [(0, ipset.Ipset("pools", 0)), (7, ipset.Ipset("pools", 7)), (None, None)],
)
def test_an_ipset_says_how_many_elements_it_has(elements, expected):
    """By its number the name is asked for; a kernel that does not count says nothing."""
    name = wire.message(0x060F, 0, nfgenmsg(2) + pack_name(2, "pools"))
    assert ipset.read_ipset(connection([name], [header(elements), wire.done()]), 3) == expected


@pytest.mark.parametrize(("state", "known"), [(0x02, True), (0x04, True), (0x20, False)])
def test_a_neighbor_that_answered(state, known):
    """An entry that failed is nobody."""
    body = struct.pack("=B3xiHBB", 2, 3, state, 0, 1)
    asked = connection([wire.message(28, 0, body)])
    assert neighbors.is_neighbor(asked, 3, b"\n\0\0\1") is known


def test_no_neighbor():
    """ENOENT is an answer; a kernel that knows no such question is none."""
    assert not neighbors.is_neighbor(connection([wire.error(errno.ENOENT)]), 3, b"\n\0\0\1")
    assert not neighbors.is_proxied(connection([wire.error(errno.ENOENT)]), 3, b"\n\0\0\1")
    with pytest.raises(Unsupported):
        neighbors.is_neighbor(connection([wire.error(errno.EOPNOTSUPP)]), 3, b"\n\0\0\1")


RAW = b"""\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
%b
"""


@pytest.mark.parametrize(
    ("line", "spoken"),
    [
        (b" 112: 00000000:0070 00000000:0000 07 00000000:00000000 00:00000000 00000000", True),
        (b"   1: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000", False),
        (b"", False),
    ],
)
def test_who_speaks_vrrp(line, spoken):
    """The port of a raw socket is its protocol."""
    assert vrrp.parse_raw(RAW % line) is spoken
