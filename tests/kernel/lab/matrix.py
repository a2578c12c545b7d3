"""The matrix of scenario by kernel, as a table for people and for README.md of tests/kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lab.scenario import load
from lab.verdict import Outcome


class Column(Protocol):
    """What came of all scenarios on one kernel."""

    @property
    def label(self) -> str: ...

    @property
    def outcomes(self) -> dict[str, Outcome]: ...


def table(columns: Sequence[Column]) -> str:
    """Return the table in Markdown: what happens, what fires, and what came of it.

    A cell is empty where a scenario was not run.
    """
    scenarios = load()
    lines = [
        "| scenario | alerts | " + " | ".join(column.label for column in columns) + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    names = [name for name in scenarios if any(name in each.outcomes for each in columns)]
    for name in sorted(names, key=lambda name: (name.startswith("twin-"), name)):
        alerts = sorted(alert.removeprefix("Netfilter") for alert in scenarios[name].alerts)
        cells = [_cell(column, name) for column in columns]
        about = f"**{name}**: {scenarios[name].about}"
        lines.append(f"| {about} | {', '.join(alerts)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(column: Column, name: str) -> str:
    outcome = column.outcomes.get(name)
    return outcome.verdict.value if outcome else ""
