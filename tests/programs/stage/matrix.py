"""The matrix of programs and their states, as a table for people and for README.md beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lab.verdict import Outcome
from stage.program import Program, load

_ROW = re.compile(r"^\| ([\w-]+) \| [^|]* \| \*\*([\w-]+)\*\*: ", re.MULTILINE)


def table(
    outcomes: Mapping[tuple[str, str], Outcome], versions: Mapping[str, Mapping[str, str]]
) -> str:
    """Return the table in Markdown: a line for each state of each program."""
    lines = ["| program | version | state | alerts | outcome |", "|---|---|---|---|---|"]
    programs = load()
    for (name, state), outcome in outcomes.items():
        scenario = programs[name].state(state)
        cells = (
            name,
            _version(programs[name], versions),
            f"**{state}**: {scenario.about}",
            ", ".join(sorted(alert.removeprefix("Netfilter") for alert in scenario.alerts)),
            outcome.verdict.value,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def rows(text: str) -> list[tuple[str, str]]:
    """Return the names of program and state of each line of a table."""
    return _ROW.findall(text)


def _version(program: Program, versions: Mapping[str, Mapping[str, str]]) -> str:
    return program.source or versions[program.suite][program.packages[0]]
