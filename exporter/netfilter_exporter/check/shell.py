"""Lines of a remedy: the only place that makes text for a shell.

A line is ASCII that a person may paste into a root shell, of whatever kind: a POSIX shell reads it
the same way in a script and at a prompt. Nothing here is run.
"""

from __future__ import annotations

import re
import shlex
from typing import NewType

from netfilter_exporter.kernel import names

#: A command or a comment. mypy refuses any other string in a remedy.
Line = NewType("Line", str)

_ASCII = re.compile(r"[ -~]*")
_UNQUOTED = re.compile(r"[A-Za-z0-9_.]")


def comment(text: str) -> Line:
    """Return a comment, which stays one line whatever `text` holds."""
    return Line(f"# {names.printable(text)}")


def commented(line: Line) -> Line:
    """Return a command that a person completes or chooses before it runs."""
    return line if line.startswith("#") else Line(f"# {line}")


def fixed(text: str) -> Line:
    """Return a command that is a literal of this program; a test refuses any other argument."""
    return Line(text)


def command(*words: str) -> Line:
    """Return the command of these words, each quoted where a shell needs it."""
    return Line(" ".join(map(word, words)))


def pipe(*lines: Line) -> Line:
    """Return the commands, each of which reads what the one before it prints."""
    return Line(" | ".join(lines))


def append(file: str, *texts: str) -> Line:
    """Return what adds lines to a file. Not echo: some shells let it read backslashes."""
    return Line(f"{_lines(*texts)} >> {word(file)}")


def write(file: str, text: str) -> Line:
    """Return what makes one line the content of a file."""
    return Line(f"{_lines(text)} > {word(file)}")


def _lines(*texts: str) -> Line:
    return command("printf", r"%s\n", *texts)


def word(text: str) -> str:
    """Return `text` as one word of a command.

    Raises ValueError for a trailing newline, which command substitution would cut off.
    """
    if _ASCII.fullmatch(text):
        return shlex.quote(text)
    if text.endswith("\n"):
        raise ValueError(f"no word of a command: {text!r}")
    # Not $'...': dash has none. Everything odd is octal: "!" is history in double quotes, and "-"
    # would be an option of printf.
    octal = "".join(_octal(byte) for byte in names.encode(text))
    return f"\"$(printf '{octal}')\""


def _octal(byte: int) -> str:
    character = chr(byte)
    return character if _UNQUOTED.fullmatch(character) else f"\\{byte:03o}"
