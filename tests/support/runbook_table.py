"""tests/alerts/RUNBOOKS.md: each command of the runbooks, the state that it is run on, and what
comes of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from support.runbooks import GUEST, HERE, NOWHERE, TESTS, Case, State

PATH = TESTS / "alerts" / "RUNBOOKS.md"
_HEAD = """\
# The commands of the runbooks, as they are run

`tests/run --update` writes this page out of runbook_commands.yml. test_runbook_commands.py runs the
commands in a namespace, tests/deploy/test_booted.py those of a whole machine in a guest with
Debian's kernel and systemd. A command that creates a table or loads a module says so under
"result"; all others are held to create and load none. "…" stands for more output.
"""
_PLACES = {HERE: "namespace", GUEST: "guest", NOWHERE: "not run"}


def page(states: list[State]) -> str:
    """Return the whole page, by the names of the runbooks."""
    cases = [case for state in states for case in state.cases]
    counts = ", ".join(
        f"{sum(case.where == where for case in cases)} {place}" for where, place in _PLACES.items()
    )
    sections = (_section(state) for state in sorted(states, key=lambda state: state.runbook))
    return f"{_HEAD}\n{len(cases)} commands: {counts}.\n\n" + "\n".join(sections)


def _section(state: State) -> str:
    rows = "".join(
        f"| {_code(case.command)} | {_PLACES[case.where]} | {_result(case)} |\n"
        for case in state.cases
    )
    head = f"## {state.runbook}\n\nState: {state.text}\n\n"
    return f"{head}| command | where | result |\n|---|---|---|\n{rows}"


def _result(case: Case) -> str:
    """Return what is expected of a command, in words."""
    return case.reason or "; ".join(_parts(case))


def _parts(case: Case) -> Iterator[str]:
    if case.silent:
        yield "prints nothing"
    elif case.says:
        yield f"prints {', '.join(map(_code, case.says))}"
    if case.seconds:
        yield f"goes on until it is ended, here after {case.seconds} s"
    else:
        yield f"exits with {case.code}"
    if case.makes:
        yield f"makes {', '.join(case.makes)}"
    for command, text in case.then.items():
        yield f"then {_code(command)} prints {_code(text)}" if text else f"then {_code(command)}"


def _code(text: str) -> str:
    """Return text as a span of code in a cell."""
    lines = " … ".join(line.strip() for line in text.strip().splitlines())
    fence = "``" if "`" in lines else "`"
    return f"{fence}{lines}{fence}".replace("|", "\\|")
