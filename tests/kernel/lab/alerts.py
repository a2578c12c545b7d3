"""Which alerts the shipped rules raise on the pages of a scenario, as promtool evaluates them.

The pages are 15 virtual seconds apart. What was before the fault is stretched back over 80 minutes,
which is all the history there is, and so counts as the day before: an hour of it is what the rules
ask for, and every evaluation costs time. The last of what came after goes on for half an hour.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from lab.scenario import INTERVAL, SCRAPES
from support.page import Page

#: Scrapes that stand for the day before, and for the half hour after.
DAY = 80 * 60 // INTERVAL
HALF_HOUR = 1800 // INTERVAL
#: Seconds after the first scrape that could see the fault at which alerts are asked for.
MOMENTS = (105, 300, 600, 900, 1200, 1800)
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"?([^"]*)"?')
_FIRING = 'count by (alertname, instance, severity) (ALERTS{alertstate="firing"})'
_ALERT = re.compile(r'alertname="(\w+)", instance="([^"]+)", severity="(\w+)"')
_RECENT = 5  #: intervals that tell how a counter goes on

Series = tuple[str, tuple[tuple[str, str], ...]]


Alert = tuple[str, str]  #: name and severity


class Recorded(NamedTuple):
    """The pages of a host."""

    before: Sequence[Page]
    after: Sequence[Page]


class Firing(NamedTuple):
    """What fires: before the fault, at each of MOMENTS after it, by name and severity."""

    before: frozenset[Alert]
    after: tuple[frozenset[Alert], ...]


def evaluate(rules: Path, hosts: Mapping[str, Recorded], folder: Path) -> dict[str, Firing]:
    """Return what fires on each of `hosts`; files are written into `folder`.

    They are evaluated together, each as an instance: that costs little more than one alone.
    """
    text = rules.read_text()
    inhibitions = read_inhibitions(rules.parent / "alertmanager.example.yml")
    names = set(re.findall(r"\b(?:netfilter|process)_\w+", text))
    fault = (DAY + SCRAPES) * INTERVAL
    moments = (fault - INTERVAL, *(fault + moment for moment in MOMENTS))
    groups = [group["name"] for group in yaml.safe_load(text)["groups"]]
    document = {
        "rule_files": [str(rules)],
        "evaluation_interval": f"{INTERVAL}s",
        # What others read is evaluated first.
        "group_eval_order": groups,
        "tests": [
            {
                "interval": f"{INTERVAL}s",
                "input_series": [
                    series
                    for instance, recorded in hosts.items()
                    for series in _input(instance, recorded, names)
                ],
                "promql_expr_test": [
                    {
                        "expr": _FIRING,
                        "eval_time": f"{moment}s",
                        # Never there: promtool tells what it found when it is not what was meant.
                        "exp_samples": [{"labels": "{}", "value": -1}],
                    }
                    for moment in moments
                ],
            }
        ],
    }
    test = folder / "test.json"
    test.write_text(json.dumps(document))  # YAML too
    found = _run(test)
    heard = {
        instance: [
            uninhibited(found[moment].get(instance, frozenset()), inhibitions) for moment in moments
        ]
        for instance in hosts
    }
    return {instance: Firing(each[0], tuple(each[1:])) for instance, each in heard.items()}


class Inhibition(NamedTuple):
    """One of Alertmanager's inhibit_rules."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    equal: tuple[str, ...]


def read_inhibitions(path: Path) -> list[Inhibition]:
    """Return the inhibit rules that are shipped for Alertmanager."""
    rules = yaml.safe_load(path.read_text())["inhibit_rules"]
    keys = ("source_matchers", "target_matchers", "equal")
    return [Inhibition(*(tuple(rule[key]) for key in keys)) for rule in rules]


def uninhibited(alerts: frozenset[Alert], rules: Iterable[Inhibition]) -> frozenset[Alert]:
    """Return the alerts that somebody hears of; all are of one job and instance."""

    def is_silenced(alert: Alert) -> bool:
        return any(
            _matches(alert, rule.target)
            and not _matches(alert, rule.source)
            and any(
                _matches(other, rule.source)
                and ("alertname" not in rule.equal or other[0] == alert[0])
                for other in alerts
            )
            for rule in rules
        )

    return frozenset(alert for alert in alerts if not is_silenced(alert))


def _matches(alert: Alert, matchers: Iterable[str]) -> bool:
    labels = {"alertname": alert[0], "severity": alert[1]}
    for matcher in matchers:
        parts = _MATCHER.fullmatch(matcher)
        assert parts, matcher
        label, operator, value = parts.groups()
        pattern = value if "~" in operator else re.escape(value)
        if bool(re.fullmatch(pattern, labels.get(label, ""))) == operator.startswith("!"):
            return False
    return True


def _run(test: Path) -> dict[int, dict[str, frozenset[Alert]]]:
    """Return name and severity of what fires, by time and instance."""
    done = subprocess.run(
        ["promtool", "test", "rules", str(test)], capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    found: dict[int, dict[str, frozenset[Alert]]] = {}
    for duration, got in re.findall(r"time: (\S+),\s*exp:.*?\bgot:([^\n]*)", output, re.DOTALL):
        fired: dict[str, set[tuple[str, str]]] = {}
        for name, instance, severity in _ALERT.findall(got):
            fired.setdefault(instance, set()).add((name, severity))
        found[_seconds(duration)] = {key: frozenset(value) for key, value in fired.items()}
    if not found:
        raise RuntimeError(f"promtool: {output[-2000:]}")
    return found


def _seconds(duration: str) -> int:
    units = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    return sum(int(n) * units[unit] for n, unit in re.findall(r"(\d+)([dhms])", duration))


def _input(instance: str, recorded: Recorded, names: set[str]) -> Iterator[Mapping[str, str]]:
    values: dict[Series, list[float | None]] = {}
    pages = [*recorded.before, *recorded.after]
    target = {"job": "netfilter", "instance": instance}
    for number, page in enumerate(pages):
        for name, labels, value in page.everything():
            if name in names:
                key = name, tuple(sorted(labels.items()))
                values.setdefault(key, [None] * len(pages))[number] = value
    for (name, own), numbers in values.items():
        inner = ",".join(f'{key}="{value}"' for key, value in (*target.items(), *own))
        counter = name.endswith("_total")
        yield {
            "series": f"{name}{{{inner}}}",
            "values": " ".join(_values(numbers, len(recorded.before), counter=counter)),
        }
    inner = ",".join(f'{key}="{value}"' for key, value in target.items())
    yield {"series": f"up{{{inner}}}", "values": f"1x{DAY + len(pages) + HALF_HOUR}"}


def _values(numbers: Sequence[float | None], faultless: int, *, counter: bool) -> Iterator[str]:
    """Yield the words of promtool's series notation for the day, the pages and the half hour."""
    first = numbers[0]
    slope = _slope(numbers[:faultless]) if counter else 0.0
    raised = 0.0  # so that a counter has not been below zero a day ago
    if first is None:
        yield f"_x{DAY}"
    else:
        raised = max(slope * DAY - first, 0)
        yield f"{first + raised - slope * DAY}+{slope}x{DAY - 1}"
    last: float | None = None
    for number in numbers:
        if number is None:
            # A series that a scrape lacks ends at once.
            yield "_" if last is None else "stale"
        else:
            if last is not None and number < last:
                raised = 0.0  # a reset
            yield f"{number + raised}"
        last = number
    if last is None:
        yield f"_x{HALF_HOUR}"
    else:
        slope = _slope(numbers[-_RECENT - 1 :]) if counter else 0.0
        yield f"{last + raised + slope}+{slope}x{HALF_HOUR - 1}"


def _slope(numbers: Iterable[float | None]) -> float:
    """Return what a counter gains in an interval on average, resets apart."""
    known = [number for number in numbers if number is not None]
    gains = [max(new - old, 0) for old, new in zip(known, known[1:])]
    return sum(gains) / len(gains) if gains else 0.0
