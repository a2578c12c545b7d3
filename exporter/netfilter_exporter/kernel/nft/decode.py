"""The expressions of a rule's message: what they make together, and which bytes decide it."""

from __future__ import annotations

import struct
from typing import NamedTuple

from netfilter_exporter.kernel.errors import Malformed
from netfilter_exporter.kernel.netlink.attributes import (
    attribute_map,
    attributes,
    be32,
    find_attribute,
)
from netfilter_exporter.kernel.nft.expressions import (
    DECODE,
    FIXED,
    MATCH,
    NFT_REG_VERDICT,
    NFTA_DATA_VERDICT,
    NFTA_EXPR_DATA,
    NFTA_EXPR_NAME,
    NFTA_IMMEDIATE_DATA,
    NFTA_LOOKUP_SET,
    NFTA_VERDICT_CHAIN,
    Effect,
    combine,
    comparison,
)
from netfilter_exporter.rules.model import Rule

#: The number of NFTA_IMMEDIATE_DREG, NFTA_MATCH_NAME, NFTA_TARGET_NAME and NFTA_OBJREF_IMM_TYPE.
_FIRST = 1
_ATTRIBUTE = struct.Struct("=HH")
_ELEMENT = struct.Struct("=HHHH")  # the list element's header and that of the name in it
#: Where the chain that an immediate verdict leads to is named, and the set of a lookup.
_CHAIN = (NFTA_EXPR_DATA, NFTA_IMMEDIATE_DATA, NFTA_DATA_VERDICT, NFTA_VERDICT_CHAIN)
_SET = (NFTA_EXPR_DATA, NFTA_LOOKUP_SET)


class Decoded(NamedTuple):
    """A rule, and the parts of its message that make no difference to it."""

    rule: Rule
    ignored: list[slice]
    targets: list[slice]  #: where those of the rule are named
    maps: list[slice]


def decode(message: memoryview, start: int, end: int) -> Decoded:
    """Decode the NFTA_RULE_EXPRESSIONS nest at `start` to `end` of an NFT_MSG_NEWRULE."""
    effects: list[Effect] = []
    ignored: list[slice] = []
    targets: list[slice] = []
    maps: list[slice] = []
    loaded = None
    offset = start
    while end - offset >= _ELEMENT.size:
        length, _, name_length, name_type = _ELEMENT.unpack_from(message, offset)
        after = offset + length
        data = offset + 4 + ((name_length + 3) & ~3)
        if name_type != NFTA_EXPR_NAME or name_length < 5 or not data <= after <= end:
            raise Malformed("nftables: a rule's expressions are cut or out of order")
        name = bytes(message[offset + 8 : offset + 3 + name_length])
        if name == b"cmp" and loaded is not None:
            effect = comparison(_data(message[data:after]), loaded)
        elif name in DECODE:
            content = _data(message[data:after])
            effect = DECODE[name](content)
            if _decided_by_first(name, content):
                ignored.append(slice(_end_of_first(message, data, after), after))
        else:
            effect = FIXED.get(name, MATCH)
            ignored.append(slice(data, after))
        if effect.targets:
            targets += find_attribute(message, data, after, _CHAIN)
        elif name == b"lookup":
            places = find_attribute(message, data, after, _SET)
            ignored += places
            maps += places if effect.maps else ()
        loaded = effect.loads
        effects.append(effect)
        offset = (after + 3) & ~3
    return Decoded(combine(effects), [*ignored, *targets], targets, maps)


def _data(element: memoryview) -> memoryview:
    """Return the NFTA_EXPR_DATA behind the name of an expression."""
    return attribute_map(element).get(NFTA_EXPR_DATA, memoryview(b""))


def _decided_by_first(name: bytes, data: memoryview) -> bool:
    """Whether an expression is decoded from no more than the first attribute of its data."""
    for type_, first in attributes(data):
        if type_ != _FIRST:
            return False
        if name == b"immediate":
            return be32(first) != NFT_REG_VERDICT
        return name in {b"match", b"objref"} or (name == b"target" and bytes(first[:2]) != b"CT")
    return False


def _end_of_first(message: memoryview, data: int, after: int) -> int:
    """Return where the first attribute in the NFTA_EXPR_DATA at `data` ends."""
    first = data + _ATTRIBUTE.size
    length: int = _ATTRIBUTE.unpack_from(message, first)[0]
    return min(first + ((length + 3) & ~3), after)
