"""Messages that kernels really sent, and what can become of them on the way."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

from netfilter_exporter.kernel.netlink.messages import HEADER, NLMSG_MIN_TYPE
from support import recording

#: One recording of each kind of ruleset, old and new.
STATES = (
    "4.9/nat-nft",
    "4.14/nat-nft",
    "5.10/nat-iptables-nft",
    "6.1/nat-nft",
    "6.1/notrack-nft",
    "6.18/nat-unreachable",
    "6.18/nat-iptables-nft",
    "7.2/nat-nft",
)

Edit = tuple[int, bytes, int]  #: position, what is put there, and how many bytes it takes away


@functools.cache
def payloads(exchange: str, states: Sequence[str] = STATES) -> list[bytes]:
    """Return the different payloads in the answers that were recorded as `exchange`."""
    found = {}
    for state in states:
        recorded = recording.load(state).exchanges.get(exchange)
        for datagram in recorded.datagrams if recorded else ():
            found.update(dict.fromkeys(_payloads(datagram)))
    assert found, f"{exchange} is in no recording"
    return list(found)


def _payloads(datagram: bytes) -> Iterable[bytes]:
    offset = 0
    while offset < len(datagram):
        length, type_, *_ = HEADER.unpack_from(datagram, offset)
        if type_ >= NLMSG_MIN_TYPE:
            yield datagram[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3


def mutated(contents: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return a strategy for real messages with wrong lengths, other bytes, and missing ends."""
    number = st.sampled_from([0, 1, 3, 4, 5, 0x7F, 0x80, 0xFF])
    put = st.binary(max_size=8) | st.builds(struct.pack, st.just("=H"), number)
    edit = st.tuples(st.integers(0, 4096), put, st.integers(0, 8))
    return st.builds(
        _edited, st.sampled_from(contents), st.lists(edit, max_size=4), st.integers(0, 64)
    )


def _edited(content: bytes, edits: Iterable[Edit], cut: int) -> bytes:
    for position, put, away in edits:
        at = position % (len(content) + 1)
        content = content[:at] + put + content[at + away :]
    return content[: max(len(content) - cut, 0)] if cut % 2 else content
