"""Whether an nftables set or map holds anything, and which keys if they are few.

Source: include/uapi/linux/netfilter/nf_tables.h, nft_setelem_data in net/netfilter/nf_tables_api.c
(v6.18). An emptied interval set still lists an element: the end of an interval. No dump of a large
set is read to its end: the connection is closed behind its first datagrams.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import NamedTuple

from netfilter_exporter.kernel.netlink.attributes import (
    attribute_map,
    be32,
    nest,
    pack,
    pack_name,
)
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import NetlinkError, nfgenmsg, nfnetlink_map
from netfilter_exporter.kernel.nft.maps import MapKey, ask_set, elements
from netfilter_exporter.kernel.nft.uapi import (
    NFT_MSG_GETSETELEM,
    NFT_SET_ELEM_CATCHALL,
    NFT_SET_ELEM_INTERVAL_END,
    NFT_SET_EVAL,
    NFT_SET_INTERVAL,
    NFT_SET_TIMEOUT,
    NFTA_DATA_VALUE,
    NFTA_LIST_ELEM,
    NFTA_SET_ELEM_EXPIRATION,
    NFTA_SET_ELEM_FLAGS,
    NFTA_SET_ELEM_KEY,
    NFTA_SET_ELEM_LIST_ELEMENTS,
    NFTA_SET_ELEM_LIST_SET,
    NFTA_SET_ELEM_LIST_TABLE,
    NFTA_SET_ELEM_TIMEOUT,
    NFTA_SET_FLAGS,
)

#: Bytes of elements that are read of one set: some 100 of them.
_MOST_BYTES = 1 << 13


class SetContents(NamedTuple):
    """What a set holds."""

    empty: bool
    changes: bool  #: elements expire, or packets add them: no change of the ruleset says so
    keys: tuple[bytes, ...] | None  #: of each element; None: they are many, or are intervals


def read_contents(connection: Connection, key: MapKey) -> SetContents:
    """Return what a set holds. The dump may be under way afterwards: close the connection."""
    (family, table), name = key
    head = nfgenmsg(family)
    described = nfnetlink_map(ask_set(connection, key))
    flags = be32(described[NFTA_SET_FLAGS]) if NFTA_SET_FLAGS in described else 0
    payloads, complete = connection.head(
        "nftables GETSETELEM",
        NFT_MSG_GETSETELEM,
        head + pack_name(NFTA_SET_ELEM_LIST_TABLE, table) + pack_name(NFTA_SET_ELEM_LIST_SET, name),
        lambda taken: taken >= _MOST_BYTES,
    )
    found = [each for payload in payloads for each in _keys(payload)]
    changes = bool(flags & (NFT_SET_TIMEOUT | NFT_SET_EVAL))
    keys = tuple(each for each in found if each is not None)
    plain = complete and len(keys) == len(found) and not flags & NFT_SET_INTERVAL
    return SetContents(complete and not found, changes, keys if plain else None)


def covers(connection: Connection, key: MapKey, first: bytes, last: bytes) -> bool:
    """Return whether one interval of an interval set holds both addresses, and all in between.

    Raises `ReadError`; NetlinkError with EINVAL where the set has no intervals.
    """
    begins = _begin(connection, key, first)
    return begins is not None and begins == _begin(connection, key, last)


def _begin(connection: Connection, key: MapKey, address: bytes) -> bytes | None:
    """Return where the interval that an address is in begins; nft_rbtree_get (v6.18)."""
    (family, table), name = key
    element = nest(NFTA_LIST_ELEM, nest(NFTA_SET_ELEM_KEY, pack(NFTA_DATA_VALUE, address)))
    request = (
        nfgenmsg(family)
        + pack_name(NFTA_SET_ELEM_LIST_TABLE, table)
        + pack_name(NFTA_SET_ELEM_LIST_SET, name)
        + nest(NFTA_SET_ELEM_LIST_ELEMENTS, element)
    )
    try:
        answer = connection.ask("nftables GETSETELEM", NFT_MSG_GETSETELEM, request)
    except NetlinkError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    found = (attribute_map(each) for each in elements(answer))
    return next((bytes(attribute_map(e[NFTA_SET_ELEM_KEY])[NFTA_DATA_VALUE]) for e in found), None)


def _keys(payload: memoryview) -> Iterator[bytes | None]:
    """Yield the key of each element that can match; None: that of every other key."""
    for element in elements(payload):
        found = attribute_map(element)
        flags = be32(found[NFTA_SET_ELEM_FLAGS]) if NFTA_SET_ELEM_FLAGS in found else 0
        timeout = any(found.get(NFTA_SET_ELEM_TIMEOUT, b""))
        left = found.get(NFTA_SET_ELEM_EXPIRATION)
        expired = timeout and left is not None and not any(left)
        if flags & NFT_SET_ELEM_INTERVAL_END or expired:
            continue
        if flags & NFT_SET_ELEM_CATCHALL or NFTA_SET_ELEM_KEY not in found:
            yield None
        else:
            yield bytes(attribute_map(found[NFTA_SET_ELEM_KEY])[NFTA_DATA_VALUE])
