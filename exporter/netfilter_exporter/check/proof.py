"""What proves that NAT works: translations that were observed, not rules that are listed."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from netfilter_exporter.rules.families import Family

#: Lost connections from which on their share means anything, and the share from which on NAT does
#: not work for all.
LOST_BIRTHS, LOSSY = 20, 0.1


class Proof(enum.Enum):
    """How much is proven; the value is `proof` in the JSON document."""

    OBSERVED = "observed"  #: new connections were translated in the interval, at least half of all
    CONFIGURED = "configured"  #: translating rules are loaded, no translation was observed
    NONE = "none"  #: no translating rule is loaded


class Translations(NamedTuple):
    """New connections of one family that were sampled between two checks."""

    connections: int
    translated: int
    replied: int = 0
    lost: int = 0  #: neither translated nor replied, of those that had the time for it

    @property
    def is_lossy(self) -> bool:
        """Whether NAT works for some alone: an uplink, a network or a bridge may be left out."""
        return self.lost >= LOST_BIRTHS and self.lost > LOSSY * self.connections


#: By family; a family that was not sampled is absent.
Observed = Mapping[Family, Translations]


def prove(observed: Observed, rules: int) -> Proof:
    """Return what `observed` and the number of translating `rules` of the host prove."""
    # Where most are not translated, those that are prove nothing of the others.
    if any(0 < seen.connections <= 2 * seen.translated for seen in observed.values()):
        return Proof.OBSERVED
    return Proof.CONFIGURED if rules else Proof.NONE
