"""The decoders of a rule's expressions, by name.

A decoder returns the `Part` of its expression, and notes in the registers what it loads.
"""

from __future__ import annotations

import functools
from typing import Callable

from netfilter_exporter.kernel.nft import actions, conditions, loads
from netfilter_exporter.kernel.nft.expression import Expression
from netfilter_exporter.kernel.nft.registers import (
    State,
)
from netfilter_exporter.kernel.rule_parts import (
    MATCH,
    NO_FIELDS,
    NOTHING,
    Part,
    known,
)
from netfilter_exporter.rules.match import Opaque
from netfilter_exporter.rules.model import Rule, Verdict

Decoder = Callable[[Expression, State], Part]

DECODERS: dict[bytes, Decoder] = {
    b"bitwise": loads.bitwise,
    b"byteorder": loads.byteorder,
    b"cmp": conditions.cmp,
    b"ct": loads.ct,
    b"fib": loads.fib,
    b"hash": functools.partial(loads.computes, dreg=2),
    b"immediate": loads.immediate,
    b"lookup": conditions.lookup,
    b"masq": actions.masq,
    b"match": actions.match_of_xtables,
    b"meta": loads.meta,
    b"nat": actions.nat,
    b"numgen": functools.partial(loads.computes, dreg=1),
    b"objref": conditions.objref,
    b"payload": loads.payload,
    b"queue": actions.queue,
    b"range": conditions.range_,
    b"redir": actions.redir,
    b"target": actions.target_of_xtables,
    **{name.encode(): functools.partial(loads.loads_other, name) for name in loads.DREG},
}

#: Expressions that always do the same, whatever is in them.
_FIXED: dict[bytes, Rule] = {
    b"counter": Rule(counted=True),
    b"last": NOTHING,
    b"log": NOTHING,
    b"notrack": Rule(notrack=True),
    b"reject": Rule(verdict=Verdict.DROP),
}
#: Those that may fail for any packet, and change nothing in it.
_MAY_FAIL = frozenset({b"connlimit", b"limit", b"quota"})


def fixed(name: bytes, whole: slice) -> Part:
    """Return the part of an expression without a decoder; one that is unknown is a match."""
    if name in _FIXED:
        return Part(_FIXED[name], ignored=(whole,))
    match = known(Opaque(name.decode("ascii", "replace")))
    writes = NO_FIELDS if name in _MAY_FAIL else None
    return Part(MATCH, ignored=(whole,), matches=(match,), writes=writes)
