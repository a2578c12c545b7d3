"""Translating rules that no packet reaches, and the rule that each of them owes that to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Callable, NamedTuple

from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.model import Rule

#: Shadows that are kept for a person to read; all are counted.
SHADOW_LIMIT = 64


class ShadowingRule(NamedTuple):
    """A rule that ends its chain for every packet, or for all that a later rule matches."""

    chain: str
    position: int  #: counted from 1
    rule: Rule
    #: families and name of its table; None: that of the rules that it hides
    table: tuple[frozenset[Family], str] | None = None


class Shadow(NamedTuple):
    """A translating rule that no packet reaches; positions count from 1, as nft and iptables do."""

    table: str
    chain: str
    position: int
    rule: Rule
    families: frozenset[Family]  #: of the table
    #: in `chain`, or in the chain whose jump is no longer reached
    shadowing_rule: ShadowingRule | None

    @property
    def hidden_by(self) -> int | None:
        """The position of the shadowing rule, where that is in the same chain."""
        by = self.shadowing_rule
        return by.position if by and not by.table and by.chain == self.chain else None


def find_shadowing_rule(
    base: str,
    chain: str,
    jumps: Mapping[str, Iterable[tuple[str, bool]]],
    hider_of_jump: Callable[[str, str], ShadowingRule | None],
) -> ShadowingRule | None:
    """Return the rule that ends the way from `base` to `chain`, the one nearest to `base`.

    `jumps` are the targets of each chain's jumps, and whether packets come to the jump;
    `hider_of_jump` gives the rule that takes the packets of a jump, by its chain and target.
    """
    todo: list[tuple[str, ShadowingRule | None]] = [(base, None)]
    seen = {base}
    for name, shadowing_rule in todo:  # grows while it is walked
        for target, live in jumps.get(name, ()):
            behind = shadowing_rule or (None if live else hider_of_jump(name, target))
            if target == chain and behind:
                return behind
            if target not in seen:
                seen.add(target)
                todo.append((target, behind))
    return None
