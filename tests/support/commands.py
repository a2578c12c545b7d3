"""What the package prints as commands, found in its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import netfilter_exporter

PACKAGE = Path(netfilter_exporter.__file__).parent


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield where check, which prints them, calls `name`, or an attribute of that name."""
    for path in (PACKAGE / "check").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if called == name:
                    yield path.relative_to(PACKAGE).as_posix(), node


def fixed_commands() -> list[str]:
    """Return the commands that are literals, which are printed as they are."""
    literals = [node.args[0] for _, node in calls("fixed")]
    return sorted({str(node.value) for node in literals if isinstance(node, ast.Constant)})
