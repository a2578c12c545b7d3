"""Rules and dashboards for targets that are scraped less often than once a minute.

A window of the rules holds three scrapes that are a minute apart. Where scrapes are further apart,
every window grows by the same factor, so that it holds as many. What rose within a window is then
counted as if the window had not grown: thresholds keep their meaning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Seconds between two scrapes for which the rules are written, and the most that they can be for:
#: Prometheus takes a series for gone whose last sample is older than five minutes.
USUAL = 60
LONGEST = 300

#: Windows of minutes are those of scrapes; history is read over hours and days.
_INCREASE = re.compile(r"(increase\([^()]*\[\d+m\]\))")
_WINDOW = re.compile(r"\[(\d+)m\]")


def in_query(text: str, seconds: int) -> str:
    """Return the PromQL `text` with windows for scrapes that are `seconds` apart."""
    if seconds <= USUAL:
        return text
    text = _INCREASE.sub(rf"\1 / {seconds / USUAL:g}", text)
    return _WINDOW.sub(lambda match: f"[{_longer(f'{match[1]}m', seconds)}]", text)


def in_group(group: Mapping[str, Any], seconds: int) -> dict[str, Any]:
    """Return a group of rules with what makes its alerts wait, and goes on, for two scrapes.

    It is evaluated each minute, if no interval is its own: what other groups recorded would be too
    old after five.
    """
    if seconds <= USUAL:
        return dict(group)
    rules = [_patient(rule, seconds) for rule in group["rules"]]
    return {"interval": "1m", **group, "rules": rules}


def _patient(rule: Mapping[str, Any], seconds: int) -> dict[str, Any]:
    found = dict(rule)
    if "for" in rule:
        found["for"] = _written(max(_seconds(rule["for"]), seconds))
    if "keep_firing_for" in rule:
        found["keep_firing_for"] = _longer(rule["keep_firing_for"], seconds)
    return found


def _longer(duration: str, seconds: int) -> str:
    return _written(round(_seconds(duration) * seconds / USUAL))


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


def _written(seconds: int) -> str:
    return f"{seconds}s" if seconds % 60 else f"{seconds // 60}m"
