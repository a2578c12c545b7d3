"""What a check finds."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import NamedTuple, Union

from netfilter_exporter.check.shell import Line
from netfilter_exporter.kernel.names import printable

Value = Union[str, int, float]


class Severity(enum.Enum):
    """The severities of the alerts, and one for what is unknown."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"
    UNKNOWN = "unknown"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return _RANK[self]


_RANK = {severity: rank for rank, severity in enumerate(Severity)}


class Found(NamedTuple):
    """One thing that a check met; the alert that it is of is known to the caller."""

    summary: str  #: one sentence
    why: str = ""
    evidence: Mapping[str, Value] = {}
    remedy: tuple[Line, ...] = ()
    severity: Severity | None = None  #: None: the first of the alert's


def unknown(summary: str) -> Found:
    """Return the finding where nothing is known."""
    return Found(summary, severity=Severity.UNKNOWN)


@dataclasses.dataclass(frozen=True)
class Finding:
    """A finding in the report; every text is printable, whatever the host's rules are called."""

    alert: str
    severity: Severity
    summary: str
    why: str
    evidence: Mapping[str, Value]
    remedy: tuple[Line, ...]


def finding(alert: str, default: Severity, found: Found) -> Finding:
    """Return `found` as a finding of `alert`."""
    return Finding(
        alert,
        found.severity or default,
        printable(found.summary),
        printable(found.why),
        {key: printable(v) if isinstance(v, str) else v for key, v in found.evidence.items()},
        found.remedy,
    )


def count(number: int, singular: str, plural: str = "") -> str:
    """Return the number and its noun."""
    return f"{number} {singular if number == 1 else plural or singular + 's'}"
