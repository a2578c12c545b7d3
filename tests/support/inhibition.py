"""What the Alertmanager example holds back, as its inhibit_rules say."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

import yaml

from netfilter_exporter import assets

_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"?([^"]*)"?')


class Alert(NamedTuple):
    """An alert of some target."""

    name: str
    severity: str


class Row(NamedTuple):
    """One of the inhibit_rules."""

    source_matchers: tuple[str, ...]
    target_matchers: tuple[str, ...]
    equal: tuple[str, ...]

    def inhibits(self, source: Alert, target: Alert) -> bool:
        """Return whether `target` is not told while `source` fires, both of one target."""
        return (
            source != target
            and matches(self.source_matchers, source)
            and matches(self.target_matchers, target)
            and ("alertname" not in self.equal or source.name == target.name)
        )


def rows() -> list[Row]:
    """Return the rows of the example."""
    text = assets.files()["alerts/alertmanager.example.yml"]
    return [
        Row(*(tuple(rule[field]) for field in Row._fields))
        for rule in yaml.safe_load(text)["inhibit_rules"]
    ]


def uninhibited(alerts: Collection[Alert]) -> frozenset[Alert]:
    """Return the alerts that somebody hears of, of those that fire on one target."""
    inhibitions = rows()
    return frozenset(
        target
        for target in alerts
        if not any(row.inhibits(source, target) for row in inhibitions for source in alerts)
    )


def split(matcher: str) -> tuple[str, str, str]:
    """Return label, operator and value of a matcher."""
    found = _MATCHER.fullmatch(matcher)
    assert found, matcher
    return found[1], found[2], found[3]


def matches(matchers: Iterable[str], alert: Alert) -> bool:
    """Return whether all matchers hold for an alert."""
    labels = {"alertname": alert.name, "severity": alert.severity}
    for matcher in matchers:
        name, operator, value = split(matcher)
        pattern = value if "~" in operator else re.escape(value)
        if bool(re.fullmatch(pattern, labels[name])) == operator.startswith("!"):
            return False
    return True
