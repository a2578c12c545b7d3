#!/usr/bin/env python3
"""Checks a commit message: `area: what it does`, at most 72 characters, and a body that says why.

tests/lint/commit_message.py FILE     as git's commit-msg hook; see .pre-commit-config.yaml
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

_MOST = 72
_AREA = re.compile(r"[a-z][a-z0-9_.,/ -]*: \S")
_MADE_BY_GIT = ("Merge ", "Revert ", "fixup! ", "squash! ")


def faults(message: str) -> Iterator[str]:
    """Yield what is wrong with a message."""
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    subject, *rest = lines or [""]
    if subject.startswith(_MADE_BY_GIT):
        return
    if len(subject) > _MOST:
        yield f"the subject has {len(subject)} characters; expected at most {_MOST}"
    if not _AREA.match(subject):
        yield "the subject does not begin with its area, as in `nat: count rules behind goto`"
    if ";" in subject:
        yield "the subject has a semicolon; expected one thing"
    body = "\n".join(rest)
    if not body.strip():
        yield "there is no body; expected why"
    elif rest[0]:
        yield "the line after the subject is not empty"


def main(argv: list[str]) -> int:
    """Print the faults of the message in a file; return 1 where there are some."""
    if len(argv) != 2:
        sys.stderr.write("usage: tests/lint/commit_message.py FILE\n")
        return 2
    found = list(faults(Path(argv[1]).read_text(encoding="utf-8")))
    sys.stderr.writelines(f"commit message: {fault}\n" for fault in found)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
