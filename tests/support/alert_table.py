"""The table of all alerts for alerts/README.md, made from the rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netfilter_exporter import assets

_RANK = {"critical": 0, "warning": 1, "info": 2}


def alert_table(loaded: Mapping[str, Any]) -> str:
    """Return the table in Markdown: one line an alert, the most severe summary."""
    rules: dict[str, list[dict[str, Any]]] = {}
    for rule in assets.rules_of(loaded):
        if "alert" in rule:
            rules.setdefault(rule["alert"], []).append(rule)
    lines = ["| alert | severity | what it says |", "|---|---|---|"]
    lines += [_line(name, found) for name, found in rules.items()]
    return "\n".join([*lines, ""])


def _line(name: str, rules: list[dict[str, Any]]) -> str:
    ordered = sorted(rules, key=lambda rule: _RANK[rule["labels"]["severity"]])
    severities = ", ".join(rule["labels"]["severity"] for rule in ordered)
    link = f"[{name}](runbooks/{name}.md)"
    return f"| {link} | {severities} | {ordered[0]['annotations']['summary']} |"
