"""The scenarios of promtool's tests, scraped at another interval, and with faults that stay.

For each severity of each alert: the series of the first test in which it fires, up to then. After
that nothing changes any more, counters rise on, and some scrapes are lost. All scenarios are put
into one test of promtool, each as targets of its own: that costs little more than one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from support.answers import Evaluation, ask, seconds

TESTS = Path(__file__).parents[2] / "alerts" / "tests"
HOLD = 80 * 60  #: seconds for which nothing changes; the last of them are looked at:
LOOKED_AT = 30 * 60
#: One of so many scrapes is lost.
LOST = 5
_RECENT = 5  #: intervals that tell how a counter goes on

_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_VALUE = re.compile(rf"(-?{_NUMBER})(?:([+-])({_NUMBER}))?(?:x(\d+))?")
_INSTANCE = re.compile(r'instance="([^"]*)"')


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
    fires = f'ALERTS{{alertstate="firing",instance!=""}}[{LOOKED_AT - 1}s]'
    count = f"max by (alertname, severity, instance) (count_over_time({fires}))"
    series = [each for scenario in found for each in scraped(scenario, interval)]
    times = sorted({_end(scenario, evaluation) for scenario in found})
    order = [group["name"] for group in rules["groups"]]
    how = Evaluation(interval, evaluation, order)
    answers = ask(folder, rules, series, [(count, time) for time in times], how)
    counts = {
        (time, Alert(labels["alertname"], labels["severity"], labels["instance"])): value
        for time in times
        for labels, value in answers.samples(count, time)
    }
    whole = LOOKED_AT // evaluation
    return {
        each.alert: counts.get((_end(each, evaluation), each.alert), 0.0) / whole for each in found
    }


def _end(scenario: Scenario, evaluation: int) -> int:
    return (scenario.since + HOLD) // evaluation * evaluation
