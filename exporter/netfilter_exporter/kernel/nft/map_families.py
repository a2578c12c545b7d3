"""Verdict maps whose keys name a family: ``meta nfproto vmap``, alone or in a concatenation.

Source: include/uapi/linux/netfilter/nf_tables.h (v6.18). The fields of a concatenation are padded
to four bytes each (NFT_REG32_SIZE). Only the rule says what its key is made of.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping

from netfilter_exporter.kernel.netlink.attributes import attribute_map, pack_name
from netfilter_exporter.kernel.netlink.connection import Connection
from netfilter_exporter.kernel.netlink.messages import nfgenmsg
from netfilter_exporter.kernel.nft import matches
from netfilter_exporter.kernel.nft.maps import MapKey, elements
from netfilter_exporter.kernel.nft.uapi import (
    NFT_MSG_GETSETELEM,
    NFTA_DATA_VALUE,
    NFTA_SET_ELEM_DATA,
    NFTA_SET_ELEM_KEY,
    NFTA_SET_ELEM_KEY_END,
    NFTA_SET_ELEM_LIST_SET,
    NFTA_SET_ELEM_LIST_TABLE,
)
from netfilter_exporter.kernel.nft.verdicts import parse_verdict
from netfilter_exporter.rules.detail import Form
from netfilter_exporter.rules.families import BOTH, FAMILIES_OF, Family
from netfilter_exporter.rules.match import Field

_WORD = 4  # NFT_REG32_SIZE

MapFamilies = Mapping[str, "frozenset[Family]"]  #: that come to each chain of a map


def family_place(form: Form) -> int | None:
    """Return where in the key of its map a rule compares the family; None: it does not.

    Of a rule with several lookups it is unknown which of them is that of the map: None.
    """
    found = [reader.constants[0] for reader in form.matches if reader.read is matches.in_set]
    if len(found) != 1 or not isinstance(found[0], tuple):
        return None
    at = 0
    for field in found[0]:
        if field is Field.FAMILY:
            return at
        if field is None:
            return None
        at += padded_size(field)
    return None


def padded_size(field: Field) -> int:
    """Return the bytes that a field takes in a key of several, where each begins a register."""
    return (field.size + _WORD - 1) // _WORD * _WORD


def read_families(connection: Connection, key: MapKey, at: int) -> MapFamilies:
    """Return the families that come to each chain of a map; its keys have them at byte `at`."""
    (family, table), name = key
    request = (
        nfgenmsg(family)
        + pack_name(NFTA_SET_ELEM_LIST_TABLE, table)
        + pack_name(NFTA_SET_ELEM_LIST_SET, name)
    )
    found: dict[str, frozenset[Family]] = collections.defaultdict(frozenset)
    for pairs in connection.dump(
        "nftables GETSETELEM",
        NFT_MSG_GETSETELEM,
        request,
        lambda message: [parse_family(element, at) for element in elements(message)],
    ):
        for chain, families in pairs:
            found[chain] |= families
    return dict(found)


def parse_family(element: memoryview, at: int) -> tuple[str, frozenset[Family]]:
    """Parse an element to the chain that it leads to ("": none), and the families of its key."""
    attributes = attribute_map(element)
    _, chain = parse_verdict(attributes.get(NFTA_SET_ELEM_DATA, memoryview(b"")))
    numbers = {key[at] for key in _keys(attributes) if len(key) > at}
    if len(numbers) != 1:  # an interval, or the element that matches every key
        return chain, BOTH
    return chain, FAMILIES_OF.get(numbers.pop(), BOTH)


def _keys(attributes: Mapping[int, memoryview]) -> Iterator[memoryview]:
    for type_ in (NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_KEY_END):
        if type_ in attributes:
            yield attribute_map(attributes[type_]).get(NFTA_DATA_VALUE, memoryview(b""))
