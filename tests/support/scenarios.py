"""The scenarios of promtool's tests, scraped at another interval, and with faults that stay.

For each severity of each alert: the series of the first test in which it fires, up to then. After
that nothing changes any more, counters rise on, and some scrapes are lost. All scenarios are put
into one test of promtool, each as targets of its own: that costs little more than one of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from support import promstack

TESTS = Path(__file__).parents[2] / "alerts" / "tests"
HOLD = 60 * 60  #: seconds for which nothing changes; the last of them are looked at:
LOOKED_AT = 30 * 60
#: One of so many scrapes is lost.
LOST = 5
_RECENT = 5  #: intervals that tell how a counter goes on

_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_VALUE = re.compile(rf"(-?{_NUMBER})(?:([+-])({_NUMBER}))?(?:x(\d+))?")
_INSTANCE = re.compile(r'instance="([^"]*)"')
_GOT = re.compile(r"time: (\S+),\s*\n\s*exp:[^\n]*\n\s*got:([^\n]*)")
_SAMPLE = re.compile(r"\{([^}]*)\} (\S+?)(?:,|$)")


class Alert(NamedTuple):
    """An alert of a target."""

    name: str
    severity: str
    instance: str


class Scenario(NamedTuple):
    """The series of targets, and an alert that fires `since` so many seconds from the start."""

    alert: Alert
    since: int
    interval: int  #: seconds between two values
    series: Mapping[str, Sequence[float | None]]


def scenarios() -> list[Scenario]:
    """Return a scenario for each severity of each alert of a host, that which takes least time."""
    found: dict[tuple[str, str], Scenario] = {}
    for number, (test, name, check) in enumerate(_checks()):
        since = seconds(check["eval_time"])
        for labels in (each["exp_labels"] for each in check["exp_alerts"]):
            if "instance" not in labels:
                continue  # it is about a fleet
            key = name, labels["severity"]
            if key in found and found[key].since <= since:
                continue
            series = {
                _INSTANCE.sub(rf'instance="{number}/\1"', each["series"]): expanded(each["values"])
                for each in test["input_series"]
            }
            alert = Alert(*key, f"{number}/{labels['instance']}")
            found[key] = Scenario(alert, since, seconds(test["interval"]), series)
    return list(found.values())


def _checks() -> Iterator[tuple[Mapping[str, Any], str, Mapping[str, Any]]]:
    for path in sorted(TESTS.glob("*_test.yml")):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for check in test["alert_rule_test"]:
                yield test, check["alertname"], check


def seconds(duration: str) -> int:
    """Return a duration of PromQL in seconds."""
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)([dhms])", str(duration)))


def expanded(values: str) -> list[float | None]:
    """Return the values that promtool's notation stands for, None where there is none."""
    found: list[float | None] = []
    for word in str(values).split():
        if word.startswith("_"):
            found += [None] * int(word[2:] or 1)
        elif word == "stale":
            found.append(None)
        else:
            match = _VALUE.fullmatch(word)
            assert match, word
            step = float(f"{match[2] or '+'}{match[3] or 0}")
            found += [float(match[1]) + step * n for n in range(int(match[4] or 0) + 1)]
    return found


def scraped(scenario: Scenario, interval: int) -> Iterator[Mapping[str, str]]:
    """Yield the series as promtool takes them, scraped each `interval` seconds."""
    for name, values in scenario.series.items():
        step = _step(values, scenario) if name.partition("{")[0].endswith("_total") else 0.0
        words = []
        before: float | None = None
        for number in range((scenario.since + HOLD) // interval + 1):
            value = _at(number * interval, values, scenario, step)
            if number * interval > scenario.since and number % LOST == 0:
                value = 0.0 if name.startswith("up{") else None
            words.append(
                "_" if value is before is None else "stale" if value is None else f"{value}"
            )
            before = value
        yield {"series": name, "values": " ".join(words)}


def _at(time: int, values: Sequence[float | None], scenario: Scenario, step: float) -> float | None:
    known = min(time, scenario.since) // scenario.interval
    if known >= len(values):
        return None
    value = values[known]
    return None if value is None else value + step * max(time - scenario.since, 0)


def _step(values: Sequence[float | None], scenario: Scenario) -> float:
    """Return what a counter gains in a second when the alert fires."""
    last = scenario.since // scenario.interval
    known = [v for v in values[max(last - _RECENT, 0) : last + 1] if v is not None]
    gains = [max(new - old, 0) for old, new in zip(known, known[1:])]
    return sum(gains) / len(gains) / scenario.interval if gains else 0.0


def steady(
    found: Iterable[Scenario],
    rules: Mapping[str, Any],
    interval: int,
    evaluation: int,
    folder: Path,
) -> dict[Alert, float]:
    """Return for each alert in how much of the time that is looked at it fires, 0 to 1."""
    found = list(found)
    (folder / "rules.json").write_text(json.dumps(rules))
    span = f"{LOOKED_AT - 1}s"
    count = f'count_over_time(ALERTS{{alertstate="firing",instance!=""}}[{span}])'
    asked = [
        {
            "expr": f"max by (alertname, severity, instance) ({count})",
            "eval_time": f"{time}s",
            # Never there: promtool tells what it found when it is not what was meant.
            "exp_samples": [{"labels": "{}", "value": -1}],
        }
        for time in sorted({_end(scenario, evaluation) for scenario in found})
    ]
    test = {
        "interval": f"{interval}s",
        "input_series": [each for scenario in found for each in scraped(scenario, interval)],
        "promql_expr_test": asked,
    }
    document = {
        "rule_files": ["rules.json"],
        "evaluation_interval": f"{evaluation}s",
        "group_eval_order": [group["name"] for group in rules["groups"]],
        "tests": [test],
    }
    (folder / "test.json").write_text(json.dumps(document))
    _, said = promstack.run_promtool("promtool", "test", "rules", folder / "test.json")
    assert "got:" in said, said[-2000:]
    answers = {seconds(time): _counts(got) for time, got in _GOT.findall(said)}
    whole = LOOKED_AT // evaluation
    return {
        each.alert: answers[_end(each, evaluation)].get(each.alert, 0.0) / whole for each in found
    }


def _end(scenario: Scenario, evaluation: int) -> int:
    return (scenario.since + HOLD) // evaluation * evaluation


def _counts(got: str) -> dict[Alert, float]:
    found = {}
    for text, value in _SAMPLE.findall(got):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', text))
        alert = Alert(labels["alertname"], labels["severity"], labels["instance"])
        found[alert] = float(value)
    return found
