"""Changes of the nftables ruleset, as the kernel sends them to the group NFNLGRP_NFTABLES.

A commit sends each change in order, and its generation behind them: nf_tables_commit() in
net/netfilter/nf_tables_api.c (v6.18). Not sent: an element that expires or that packets add, and a
table that goes with its owner.

Listening costs the host memory: the kernel keeps a message for each changed rule until the commit
ends, 22 KB per rule while a whole ruleset is replaced (measured on 6.18), outside our cgroup.
"""

from __future__ import annotations

from typing import NamedTuple

from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.netlink.attributes import be32
from netfilter_exporter.kernel.netlink.messages import messages_of, nfnetlink_map
from netfilter_exporter.kernel.netlink.transport import Transport
from netfilter_exporter.kernel.nft.uapi import NFT_MSG_NEWGEN, NFTA_GEN_ID

#: Seconds to wait for the changes of the current generation: its commit is about to end.
_PATIENCE = 1.0
_MOST = (1 << 32) - 1


class Lost(ReadError):
    """It is not known what has changed: all has to be read."""


class Change(NamedTuple):
    """What a message says: its type is NFT_MSG_NEW* or NFT_MSG_DEL*."""

    type: int
    payload: memoryview


class Listener:
    """A socket in NFNLGRP_NFTABLES, and the generation up to which all changes were taken."""

    def __init__(self, transport: Transport, generation: int) -> None:
        """`generation` was read when the socket had joined."""
        self._transport = transport
        self._generation = generation

    def close(self) -> None:
        self._transport.close()

    def take(self, generation: int) -> list[Change]:
        """Return what has changed up to a generation that the kernel has.

        Raises `Lost`, or what the socket raises: where messages were lost that is ENOBUFS.
        """
        found: list[Change] = []
        while self._generation != generation:
            datagram = self._transport.receive(_PATIENCE)
            for type_, _, payload in messages_of(datagram, None, "nftables changes"):
                if type_ == NFT_MSG_NEWGEN:
                    self._end(be32(nfnetlink_map(payload)[NFTA_GEN_ID]))
                else:
                    found.append(Change(type_, payload))
        return found

    def _end(self, generation: int) -> None:
        """All changes of a generation were taken."""
        if generation != following(self._generation):
            raise Lost(f"nftables: generation {generation} came after {self._generation}")
        self._generation = generation


def following(generation: int) -> int:
    """Return the next generation: none is 0."""
    return generation + 1 if generation < _MOST else 1
