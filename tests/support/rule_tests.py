"""promtool's tests of the rules, each with the rules that it needs and no others.

promtool evaluates every rule of a file at each step of each test, and parses it anew each time.
With all rules the tests take seven minutes on two processors, so one and a half.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

_RECORDED = re.compile(r"\b\w+:\w+:\w+\b")


def written(file: Path, rules: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write each test of `file` into `folder`, with the `rules` that it needs; return the paths."""
    document = yaml.safe_load(file.read_text())
    found = []
    for number, test in enumerate(document["tests"]):
        wanted = folder / f"{file.stem}-{number}.rules.json"
        wanted.write_text(json.dumps(needed(rules, test)))
        alone = {**document, "rule_files": [str(wanted)], "tests": [test]}
        path = folder / f"{file.stem}-{number}.json"
        path.write_text(json.dumps(alone))
        found.append(path)
    return found


def needed(rules: Mapping[str, Any], test: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a copy of `rules` with the alerts that a test asks for, and what these read."""
    asked = {each["alertname"] for each in test.get("alert_rule_test", ())}
    expressions = " ".join(each["expr"] for each in test.get("promql_expr_test", ()))
    recorded = set(_RECORDED.findall(expressions))
    while more := set(_read(rules, asked, recorded)) - recorded:
        recorded |= more
    document = copy.deepcopy(dict(rules))
    for group in document["groups"]:
        group["rules"] = [rule for rule in group["rules"] if _is(rule, asked, recorded)]
    document["groups"] = [group for group in document["groups"] if group["rules"]]
    return document


def _read(rules: Mapping[str, Any], asked: set[str], recorded: set[str]) -> Iterator[str]:
    """Yield the recorded series that these rules read, in texts for people too."""
    for group in rules["groups"]:
        for rule in group["rules"]:
            if _is(rule, asked, recorded):
                texts = [rule["expr"], *rule.get("annotations", {}).values()]
                yield from _RECORDED.findall(" ".join(texts))


def _is(rule: Mapping[str, Any], asked: set[str], recorded: set[str]) -> bool:
    return rule.get("alert") in asked or rule.get("record") in recorded
