"""What rules and expressions come to on series, as promtool evaluates them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support import promstack

_ANSWER = re.compile(r'expr: "(.*?)", time: (\S+),\s*\n\s*exp:[^\n]*\n\s*got:([^\n]*)')
_SAMPLE = re.compile(r"([\w:]*)\{((?:[^\"}]|\"(?:[^\"\\]|\\.)*\")*)\} (\S+?)(?:,|$)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Evaluation(NamedTuple):
    """How rules are evaluated."""

    interval: int  #: seconds between two values of a series
    every: int  #: seconds between two evaluations
    order: Sequence[str] | None = None  #: of groups; None: as promtool likes
    tool: str | Path = "promtool"


class Answers:
    """What promtool found: samples by expression and time."""

    def __init__(self, said: str) -> None:
        self._found = {
            (json.loads(f'"{expression}"'), seconds(time)): got
            for expression, time, got in _ANSWER.findall(said)
        }

    def samples(self, expression: str, time: int) -> Iterator[tuple[dict[str, str], float]]:
        """Yield labels and value of each sample; its name is one of the labels, if it has one."""
        for name, labels, value in _SAMPLE.findall(self._found[expression, time]):
            named = {"__name__": name} if name else {}
            yield {**named, **dict(_LABEL.findall(labels))}, float(value)


def ask(
    folder: Path,
    rules: Mapping[str, Any],
    series: Iterable[Mapping[str, str]],
    asked: Iterable[tuple[str, int]],
    how: Evaluation,
) -> Answers:
    """Return what expressions come to at times, in seconds; writes two files into `folder`.

    `series` are as promtool takes them. Raises RuntimeError with what promtool says of a defect.
    """
    (folder / "rules.json").write_text(json.dumps(rules))  # which is YAML, too
    document = {
        "rule_files": ["rules.json"],
        "evaluation_interval": f"{how.every}s",
        **({"group_eval_order": list(how.order)} if how.order else {}),
        "tests": [
            {
                "interval": f"{how.interval}s",
                "input_series": list(series),
                "promql_expr_test": [
                    {
                        "expr": expression,
                        "eval_time": f"{time}s",
                        # Never there: promtool tells what it found when it is not what was meant.
                        "exp_samples": [{"labels": "{}", "value": -1}],
                    }
                    for expression, time in asked
                ],
            }
        ],
    }
    test = folder / "test.json"
    test.write_text(json.dumps(document))
    _, said = promstack.run_promtool(how.tool, "test", "rules", test)
    if "got:" not in said or "err:" in said:
        raise RuntimeError(f"promtool: {said[-2000:]}")
    return Answers(said)


def seconds(duration: str) -> int:
    """Return a duration of PromQL in seconds."""
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)([dhms])", str(duration)))
