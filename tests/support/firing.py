"""Which alerts the pages of a host fire: the rules themselves, run over them by promtool.

The pages are scrapes 15 seconds apart, some before a fault and some after it. What was before is
stretched to a day, and the last interval is repeated for half an hour.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from prometheus_client.parser import text_string_to_metric_families

from netfilter_exporter import assets
from support import promstack

INTERVAL = 15
DAY = 86_400 // INTERVAL
HALF_AN_HOUR = 1800 // INTERVAL
#: A day of evaluations every 15 seconds takes a minute to compute.
EVALUATION = "2m"
TARGET = 'job="netfilter",instance="host"'

_FIRED = re.compile(r'alertname="(\w+)"[^}]*severity="(\w+)"')
_MATCHER = re.compile(r'^(\w+)(=~|!=|=)"(.*)"$')


class Alert(NamedTuple):
    name: str
    severity: str


def fired(
    before: Sequence[str], after: Sequence[str], version: str = "2.42"
) -> tuple[set[Alert], set[Alert]]:
    """Return the alerts that fire before the fault, and those that fire after it.

    Raises `debian.UnavailableError` where there is no promtool of that version.
    """
    healthy = DAY + len(before) - 1
    end = DAY + len(before) + len(after) + HALF_AN_HOUR
    asked = [(healthy, 60), (end, 30 + len(after) * INTERVAL // 60)]
    with tempfile.TemporaryDirectory() as folder:
        first, second = _ask(Path(folder), version, list(_series(before, after)), asked)
    return first, second


def told(alerts: Collection[Alert]) -> set[Alert]:
    """Return those that the Alertmanager example does not hold back."""
    return set(alerts) - {
        target for source in alerts for target in alerts if _holds(source, target)
    }


def _holds(source: Alert, target: Alert) -> bool:
    return source != target and any(
        matches(row["source_matchers"], source)
        and matches(row["target_matchers"], target)
        and ("alertname" not in row["equal"] or source.name == target.name)
        for row in inhibitions()
    )


def inhibitions() -> list[dict[str, Any]]:
    """Return the rows of inhibition in the Alertmanager example."""
    text = assets.files()["alerts/alertmanager.example.yml"]
    rows: list[dict[str, Any]] = yaml.safe_load(text)["inhibit_rules"]
    return rows


def split(matcher: str) -> tuple[str, str, str]:
    """Return label, operator and value of a matcher."""
    found = _MATCHER.match(matcher)
    assert found, matcher
    return found[1], found[2], found[3]


def matches(matchers: Sequence[str], alert: Alert) -> bool:
    """Tell whether all matchers hold for an alert."""
    labels = {"alertname": alert.name, "severity": alert.severity}
    for matcher in matchers:
        name, operator, value = split(matcher)
        pattern = value if operator == "=~" else re.escape(value)
        if bool(re.fullmatch(pattern, labels[name])) == (operator == "!="):
            return False
    return True


def _ask(
    folder: Path, version: str, series: list[dict[str, str]], asked: Sequence[tuple[int, int]]
) -> list[set[Alert]]:
    """Return for each scrape and number of minutes what fired in these minutes before it."""
    rules = folder / "netfilter.rules.yml"
    rules.write_bytes(assets.files()[assets.RULES])
    groups = [group["name"] for group in assets.load_rules(rules.read_bytes())["groups"]]
    questions = [
        # A name of its own for each, for promtool tells what it got in any order.
        {
            "expr": f'count_over_time(ALERTS{{alertstate="firing"}}[{minutes}m]) + {number} * 0',
            "eval_time": f"{scrape * INTERVAL}s",
            "exp_samples": [],
        }
        for number, (scrape, minutes) in enumerate(asked)
    ]
    test = {"interval": f"{INTERVAL}s", "input_series": series, "promql_expr_test": questions}
    contents = {
        "rule_files": [str(rules)],
        "evaluation_interval": EVALUATION,
        "group_eval_order": [*groups[1:], groups[0]],
        "tests": [test],
    }
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump(contents, width=1_000_000))
    command = [str(promstack.promtool(version)), "test", "rules", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert "err:" not in said, said
    assert "SUCCESS" in said or "got:" in said, said
    return [_found(said, number) for number in range(len(asked))]


def _found(said: str, number: int) -> set[Alert]:
    part = re.search(rf"\+ {number} \* 0\".*?got: ([^\n]*)", said, re.DOTALL)
    return {Alert(*found) for found in _FIRED.findall(part[1])} if part else set()


def _series(before: Sequence[str], after: Sequence[str]) -> Iterator[dict[str, str]]:
    pages = [_samples(text) for text in (*before, *after)]
    yield {"series": f"up{{{TARGET}}}", "values": f"1+0x{DAY + len(pages) + HALF_AN_HOUR}"}
    for name in sorted({name for page in pages for name in page}):
        values = [page.get(name) for page in pages]
        yield {"series": name, "values": " ".join(_stretch(values, len(before), _counts(name)))}


def _counts(name: str) -> bool:
    return name.partition("{")[0].endswith("_total")


def _samples(text: str) -> dict[str, float]:
    """Return the samples of a page that the rules read, by series."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.startswith("netfilter_") or sample.name == "process_start_time_seconds":
                labels = "".join(f",{k}={_quoted(v)}" for k, v in sorted(sample.labels.items()))
                found[f"{sample.name}{{{TARGET}{labels}}}"] = sample.value
    return found


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _stretch(values: list[float | None], before: int, counts: bool) -> Iterator[str]:
    """Yield the values with a day before them and half an hour behind, in promtool's notation."""
    known = [value for value in values[:before] if value is not None]
    pace = (known[-1] - known[0]) / max(1, len(known) - 1) if counts and known else 0.0
    # Counters never fall below 0: all of them begin high enough for the day before.
    lift = max(0.0, pace) * DAY if counts else 0.0
    if values[0] is None:
        yield f"_x{DAY}"
    else:
        yield f"{values[0] + lift - pace * DAY:.6f}+{pace:.6f}x{DAY - 1}"
    for value in values:
        yield "_" if value is None else f"{value + lift:.6f}"
    last, previous = values[-1], values[-2] if len(values) > 1 else None
    if last is None:
        yield f"_x{HALF_AN_HOUR}"
        return
    step = last - previous if counts and previous is not None else 0.0
    yield f"{last + lift + step:.6f}+{max(step, 0.0):.6f}x{HALF_AN_HOUR - 1}"
