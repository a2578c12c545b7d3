"""What values mean: text and colour for states, and the thresholds of the alerts.

No state is shown by color alone.
"""

from __future__ import annotations

from typing import NamedTuple

GREEN, ORANGE, RED = "green", "orange", "red"
BLUE, PURPLE, GREY = "blue", "purple", "#808080"


class State(NamedTuple):
    """What a value is called, and its colour."""

    text: str
    color: str


States = dict[int, State]

HEALTH: States = {
    0: State("healthy", GREEN),
    1: State("warning", ORANGE),
    2: State("unknown", PURPLE),
    3: State("DOWN", PURPLE),
    4: State("BROKEN", RED),
}
VERDICT: States = {
    -1: State("not readable", GREY),
    0: State("not used", GREY),
    1: State("OK", GREEN),
    2: State("unknown", ORANGE),
    3: State("see alerts", ORANGE),
    4: State("DROPPING", RED),
    5: State("NO RULES", RED),
    6: State("NOT FORWARDING", RED),
    7: State("NOT TRACKED", RED),
}
SWITCH: States = {
    0: State("OFF", RED),
    1: State("on", GREEN),
    2: State("off, not needed", GREY),
    3: State("on, not needed", GREY),
}
UP: States = {0: State("DOWN", RED), 1: State("up", GREEN)}
ALERTS: States = {-1: State("no alert rules", ORANGE), 0: State("none", GREEN)}
SETTING: States = {0: State("off", BLUE), 1: State("on", GREEN)}
FINDING: States = {0: State("no", GREEN), 1: State("YES", ORANGE)}
PRESENT: States = {0: State("absent", GREY), 1: State("present", BLUE)}
MISMATCH: States = {0: State("as wanted", GREEN), 1: State("NOT AS WANTED", ORANGE)}
CAPABILITY: States = {
    0: State("missing, not needed", GREY),
    1: State("there, not needed", BLUE),
    2: State("NEEDED, MISSING", RED),
    3: State("needed, there", GREEN),
    4: State("needed, unknown", ORANGE),
}
MODULE: States = {
    1: State("loaded", GREEN),
    2: State("builtin", GREEN),
    3: State("merged", GREEN),
    4: State("available", BLUE),
    5: State("BLOCKED", ORANGE),
    6: State("UNSIGNED", ORANGE),
    7: State("absent", GREY),
    8: State("unknown", ORANGE),
}
STATUS: States = {
    1: State("ok", GREEN),
    2: State("no_data", BLUE),
    3: State("unsupported", BLUE),
    4: State("inconclusive", ORANGE),
    5: State("DENIED", ORANGE),
    6: State("TIMEOUT", RED),
    7: State("ERROR", RED),
}
SEVERITY = {"critical": RED, "warning": ORANGE, "info": BLUE}
ALERT_STATE = {"firing": RED, "pending": ORANGE}


class Limits(NamedTuple):
    """From which value on an alert of that severity holds."""

    warning: float | None = None
    critical: float | None = None


FILL = Limits(warning=0.8, critical=0.95)
#: Alerts fire above these, and a panel turns red from them on: the next packet is the alert.
DROPS_5M = Limits(critical=10)
EVICTED_10M = Limits(warning=0)
PORTS = Limits(warning=0.05, critical=1)
INVALID = Limits(warning=10)
TRAFFIC_DROPPED = Limits(warning=0.9)
ADDRESS_ERRORS_10M = Limits(warning=10)
ALERT_COUNT = Limits(warning=1)
PAGES = Limits(critical=1)
BAD_HOSTS = Limits(critical=1)
BROKEN_RULES = Limits(warning=1)


def lowercase_numbers(states: States) -> dict[str, int]:
    """Return the number of each state by the exporter's own word for it."""
    return {state.text.lower(): number for number, state in states.items()}
