"""The commands of the runbooks, and what each does on the state that its runbook is for.

The states are in tests/alerts/runbook_commands.yml, whose head says what stands in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

TESTS = Path(__file__).resolve().parents[1]
FOLDER = TESTS.parent / "alerts" / "runbooks"
CASES = TESTS / "alerts" / "runbook_commands.yml"

#: Programs by which a command in a sentence is told from a word of a configuration.
_PROGRAMS = (
    *("apt-get", "conntrack", "curl", "ip", "iptables", "iptables-legacy", "journalctl", "kill"),
    *("modprobe", "netfilter_exporter", "nft", "podman", "rmmod", "sysctl", "systemctl"),
    *("timedatectl", "wg-quick"),
)
_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"\s+# .*$", re.MULTILINE)
HERE, GUEST, NOWHERE = "namespace", "guest", "not run"


class Step(NamedTuple):
    """A command as its runbook has it."""

    section: str
    command: str


class Case(NamedTuple):
    """A command, and what is expected of it."""

    runbook: str
    command: str  #: as the runbook has it
    line: str  #: with names instead of the words in capitals
    where: str
    says: tuple[str, ...]  #: what its output holds
    silent: bool  #: its output is empty
    code: int | None  #: None: it depends on units that others started
    then: Mapping[str, str]  #: commands that show the effect, and what their output holds
    seconds: int  #: after which it is ended, 0: it ends by itself
    terminal: bool
    makes: tuple[str, ...]  #: tables and modules that the step says it makes
    reason: str  #: why it is not run


class Ended(NamedTuple):
    """What came of a command."""

    code: int
    output: str  #: standard output, and errors behind it
    made: tuple[str, ...]  #: tables, and `modules` where one was loaded
    changed: bool  #: rules are not as before
    shown: Mapping[str, str]  #: the output of each command of `then`


class State(NamedTuple):
    """What a runbook is for, made by scripts."""

    runbook: str
    text: str
    host: str  #: a script for a namespace
    guest: str  #: a script for a guest
    configuration: str
    traffic: bool
    last: bool  #: the guest does not recover from it
    advertises: bool
    cases: tuple[Case, ...]

    def of(self, where: str) -> list[Case]:
        """Return the cases of a place."""
        return [case for case in self.cases if case.where == where]


def runbooks() -> list[Path]:
    """Return the files of the runbooks."""
    return sorted(FOLDER.glob("Netfilter*.md"))


def steps(text: str) -> list[Step]:
    """Return the commands of diagnosis and mitigation, each once, without their comments."""
    found: dict[str, Step] = {}
    for section in ("Diagnosis", "Mitigation"):
        body = text.partition(f"## {section}\n")[2].partition("\n## ")[0]
        for block in _BLOCK.findall(body):
            for command in _commands(block):
                found.setdefault(command, Step(section, command))
        for span in re.findall(r"`([^`\n]+)`", _BLOCK.sub("", body)):
            if span.split()[0] in _PROGRAMS and " " in span:
                found.setdefault(span, Step(section, span))
    return list(found.values())


def _commands(block: str) -> Iterator[str]:
    """Yield the commands of a block: a line that ends with a backslash goes on."""
    joined = re.sub(r" *\\\n *", " ", _COMMENT.sub("", block))
    return (line.strip() for line in joined.splitlines() if line.strip())


def states() -> list[State]:
    """Return the state of each runbook that has commands."""
    found = yaml.safe_load(CASES.read_text())
    return [_state(runbook, fields) for runbook, fields in found.items()]


def _state(runbook: str, fields: Mapping[str, Any]) -> State:
    words = fields.get("words", {})
    where = HERE if "host" in fields else GUEST
    cases = (
        _case(runbook, command, expected, where, words)
        for command, expected in fields["commands"].items()
    )
    return State(
        runbook,
        " ".join(fields["state"].split()),
        fields.get("host", ""),
        fields.get("guest", ""),
        fields.get("configuration", "nat: required"),
        fields.get("traffic", False),
        fields.get("last", False),
        fields.get("advertises", False),
        tuple(cases),
    )


def _case(runbook: str, command: str, expected: Any, where: str, words: Mapping[str, str]) -> Case:
    """Return a case; text alone is what the output holds, "" an empty output."""
    fields = expected if isinstance(expected, dict) else {"says": expected}
    said = fields.get("says")
    texts = said if isinstance(said, list) else [said] if said else []
    return Case(
        runbook,
        command,
        _filled(command, {**words, **fields.get("words", {})}),
        NOWHERE if "not run" in fields else fields.get("in", where),
        tuple(texts),
        said == "",
        fields.get("code", 0),
        fields.get("then", {}),
        fields.get("seconds", 0),
        fields.get("terminal", False),
        tuple(fields.get("makes", ())),
        " ".join(fields.get("not run", "").split()),
    )


def _filled(command: str, words: Mapping[str, str]) -> str:
    """Return a command with a name for each word in capitals."""
    for word, name in words.items():
        command = re.sub(rf"(?<![A-Za-z_]){word}(?![A-Za-z])", name.replace("\\", r"\\"), command)
    return command


def ended_in_guest(result: Mapping[str, Any]) -> Ended:
    """Return what came of a command in a guest; all modules that it loaded count as one."""
    made = {"modules" if name.startswith("module ") else name for name in result["made"]}
    return Ended(
        result["code"], result["output"], tuple(made), changed=False, shown=result["shown"]
    )


def complaint(case: Case, ended: Ended) -> str | None:
    """Return what is wrong with the end of a command, None where nothing is."""
    if not case.seconds and case.code not in {None, ended.code}:
        return f"exit code {ended.code}, expected {case.code}"
    if case.silent and ended.output:
        return "output, expected none"
    lacking = [text for text in case.says if text not in ended.output]
    lacking += [
        f"{text} of {command}"
        for command, text in case.then.items()
        if text not in ended.shown[command]
    ]
    if lacking:
        return f"not in the output: {lacking}"
    if set(ended.made) != set(case.makes):
        return f"made {sorted(ended.made)}, expected {sorted(case.makes)}"
    return "changed the rules" if ended.changed and not case.then and not case.makes else None


def described(case: Case, ended: Ended) -> str | None:
    """Return a complaint with what the command said, None where nothing is wrong."""
    found = complaint(case, ended)
    return found and f"{case.runbook}: {case.line}: {found}\n{ended.output}{ended.shown}"
