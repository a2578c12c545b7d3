"""What was found out of the chains of a table, for its next state, in which most are the same."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import NamedTuple

from netfilter_exporter.rules.covers import ChainCovers, Covers, Progress
from netfilter_exporter.rules.model import Table
from netfilter_exporter.rules.summaries import ChainSummary, RuleHit
from netfilter_exporter.rules.termination import Termination


class Memo(NamedTuple):
    """What was found out of a chain; it depends on how far `Covers` had come before it."""

    summary: ChainSummary
    covers: ChainCovers | None
    begin: Progress
    end: Progress


class Remembered(NamedTuple):
    """What was found out of a table."""

    table: Table
    memos: dict[str, Memo]
    termination: Termination
    covers: Covers
    hits: dict[tuple[tuple[int, int], ...], tuple[RuleHit, ...]]

    def unchanged(self, now: Table, covers: Covers) -> set[str]:
        """Return the chains that are as they were, with all that they lead to.

        What is the same is the same object.
        """
        before = self.table.chains
        names = before.keys() | now.chains.keys()
        changed = {name for name in names if before.get(name) is not now.chains.get(name)}
        changed |= _using(now, _changed_maps(self.table, now))
        changed |= self.covers.earlier.keys() | covers.earlier.keys()
        return self.memos.keys() - changed - self._callers(changed)

    def _callers(self, chains: Iterable[str]) -> set[str]:
        """Return the chains that lead to any of these, which no rule does to a base chain."""
        before = self.table.chains
        todo = [name for name in chains if name not in before or not before[name].type]
        found: set[str] = set()
        callers: dict[str, list[str]] = collections.defaultdict(list)
        for name, memo in self.memos.items() if todo else ():
            for target, _ in memo.summary.edges:
                callers[target].append(name)
        todo += callers.keys() - self.memos.keys()  # no packet came there: who leads where, neither
        while todo:
            new = set(callers[todo.pop()]) - found
            found |= new
            todo += new
        return found


def _changed_maps(before: Table, now: Table) -> set[str]:
    names = before.maps.keys() | now.maps.keys()
    return {name for name in names if _of_map(before, name) != _of_map(now, name)}


def _of_map(table: Table, name: str) -> tuple[object, object]:
    return table.maps.get(name), table.map_families.get(name)


def _using(table: Table, maps: set[str]) -> set[str]:
    """Return the chains whose rules look into these maps."""
    if not maps:
        return set()
    return {
        name
        for name, chain in table.chains.items()
        if any(rule.maps and not maps.isdisjoint(rule.maps) for rule in chain.rules)
    }
