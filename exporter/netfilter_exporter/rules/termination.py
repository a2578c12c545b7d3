"""Which rules no packet gets beyond, and which chains no packet comes back from.

Deliberately conservative: a match may always fail, so only a rule without one ends a chain.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from netfilter_exporter.rules.model import Rule, Table, Verdict


class Termination:
    """What of one table ends the way of every packet."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._ends: dict[str, bool] = {}
        self._of_list: dict[int, bool] = {}  #: by the identity of the rules: many chains share them

    def go_on(self, before: Termination, unchanged: Collection[str]) -> None:
        """Take over what is known of chains that are unchanged, with all that they lead to."""
        known = before._ends
        self._ends.update((name, known[name]) for name in unchanged if name in known)

    def hides(self, rule: Rule) -> bool:
        """Return whether no packet gets beyond a rule of its chain.

        ``dnat ip to`` in an inet table has no match, and yet IPv6 passes it by.
        """
        if rule.conditional or not rule.families >= self._table.families:
            return False
        if rule.verdict is Verdict.JUMP:
            return self._all_end(rule.targets)
        return rule.action is not None or rule.verdict is not None

    def ends(self, chain: str) -> bool:
        """Return whether no packet that comes to a user chain comes back to its caller."""
        known = self._ends.get(chain)
        if known is None:
            rules = self._table.rules(chain)
            known = self._of_list.get(id(rules))
            if known is None:
                self._ends[chain] = False  # while it is asked: the kernel allows no circle of jumps
                known = self._of_list[id(rules)] = self._find_end(rules)
            self._ends[chain] = known
        return known

    def _find_end(self, rules: Sequence[Rule]) -> bool:
        for rule in rules:
            if rule.verdict is Verdict.RETURN or rule.maps:
                return False
            # What is sent on returns to the caller from there.
            if rule.verdict is Verdict.GOTO and not self._all_end(rule.targets):
                return False
            if self.hides(rule):
                return True
        return False

    def _all_end(self, chains: Sequence[str]) -> bool:
        return bool(chains) and all(map(self.ends, chains))
