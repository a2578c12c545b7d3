"""The expressions of a rule's message, in one pass: what they make together."""

from __future__ import annotations

import struct
from typing import NamedTuple

from netfilter_exporter.kernel.errors import Malformed
from netfilter_exporter.kernel.nft.expression import expression
from netfilter_exporter.kernel.nft.expressions import DECODERS, fixed
from netfilter_exporter.kernel.nft.registers import State
from netfilter_exporter.kernel.nft.uapi import NFTA_EXPR_NAME
from netfilter_exporter.kernel.rule_parts import Part, combine, known
from netfilter_exporter.rules.families import BOTH, FAMILIES_OF
from netfilter_exporter.rules.match import Opaque
from netfilter_exporter.rules.model import Rule

_ELEMENT = struct.Struct("=HHHH")  # the list element's header and that of the name in it


class Decoded(NamedTuple):
    """A rule, and the parts of its message that make no difference to its form."""

    rule: Rule
    ignored: list[slice]
    values: list[slice]  #: those that its detail is read from, in their order
    targets: list[slice]  #: where those of the rule are named
    maps: list[slice]


def decode(message: memoryview, start: int, end: int) -> Decoded:
    """Decode the NFTA_RULE_EXPRESSIONS nest at `start` to `end` of an NFT_MSG_NEWRULE."""
    state = State(FAMILIES_OF.get(message[0], BOTH))
    parts: list[Part] = []
    offset = start
    while end - offset >= _ELEMENT.size:
        length, _, name_length, name_type = _ELEMENT.unpack_from(message, offset)
        after = offset + length
        data = offset + 4 + ((name_length + 3) & ~3)
        if name_type != NFTA_EXPR_NAME or name_length < 5 or not data <= after <= end:
            raise Malformed("nftables: a rule's expressions are cut or out of order")
        name = bytes(message[offset + 8 : offset + 3 + name_length])
        decoder = DECODERS.get(name)
        if decoder:
            part = decoder(expression(message, data, after), state)
        else:
            part = fixed(name, slice(data, after))
        state.families &= part.effect.families
        parts.append(part)
        offset = (after + 3) & ~3
    unused = [known(Opaque(source.what)) for source in state.registers.unused()]
    rule, values = combine([*parts, Part(matches=tuple(unused))])
    return Decoded(
        rule,
        [place for part in parts for place in (*part.ignored, *part.targets)] + values,
        values,
        [place for part in parts for place in part.targets],
        [place for part in parts for place in part.maps],
    )
