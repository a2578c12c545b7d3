"""Colours, and how a field's configuration turns a number into a text and a colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

BACKGROUND, PANEL, BORDER = "#111217", "#181b1f", "#2b2e34"
TEXT, DIM, GRID = "#d8d9e2", "#9a9ba6", "#26292f"
NAMED = {
    "green": "#56a64b",
    "orange": "#e0862d",
    "red": "#d43f4f",
    "blue": "#3b78d8",
    "purple": "#8f3bb8",
}
PALETTE = (
    *("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9"),
    *("#c0d8ff", "#96d98d", "#ffb357", "#ca95e5", "#8f3bb8", "#37872d", "#fade2a"),
)
_SUFFIXES = ((1e9, " Bil"), (1e6, " Mil"), (1e3, " K"))


class Shown(NamedTuple):
    """A value as it is shown; no colour where nothing gives it one."""

    text: str
    color: str | None = None


def color(name: str) -> str:
    """Return the colour that a name stands for."""
    return NAMED.get(name, name)


class Fields:
    """The configuration of the fields of a panel."""

    def __init__(self, panel: Mapping[str, Any]) -> None:
        self._defaults = panel["fieldConfig"]["defaults"]
        self._overrides = panel["fieldConfig"]["overrides"]

    def get(self, key: str, name: str = "", ref: str = "") -> Any:
        """Return a setting of the field of that name or query, None where there is none."""
        found = self._defaults.get(key)
        if key.startswith("custom."):
            found = self._defaults.get("custom", {}).get(key.split(".")[1])
        for override in self._overrides:
            matcher = (override["matcher"]["id"], override["matcher"]["options"])
            if matcher in {("byName", name), ("byFrameRefID", ref)}:
                for item in override["properties"]:
                    found = item["value"] if item["id"] == key else found
        return found

    def show(self, value: float | str | None, name: str = "", ref: str = "") -> Shown:
        """Return how a value is shown."""
        if value is None:
            return Shown("")
        for mapping in self.get("mappings", name, ref) or ():
            key = value if isinstance(value, str) else f"{value:.12g}"
            if key in mapping["options"]:
                result = mapping["options"][key]
                return Shown(result["text"], color(result["color"]))
        if isinstance(value, str):
            return Shown(value)
        return Shown(
            number(value, self.get("unit", name, ref) or "none", self.get("decimals", name, ref)),
            self.by_threshold(value, name, ref),
        )

    def by_threshold(self, value: float, name: str = "", ref: str = "") -> str | None:
        """Return the colour that the thresholds give a value."""
        steps = (self.get("thresholds", name, ref) or {}).get("steps", ())
        passed = [step for step in steps if step["value"] is None or value >= step["value"]]
        return color(passed[-1]["color"]) if passed else None

    def limits(self) -> list[tuple[float, str]]:
        """Return the thresholds that are drawn as lines, and their colours."""
        style = self._defaults.get("custom", {}).get("thresholdsStyle", {}).get("mode", "off")
        steps = self._defaults.get("thresholds", {}).get("steps", ()) if style != "off" else ()
        return [
            (step["value"], color(step["color"])) for step in steps if step["value"] is not None
        ]


def number(value: float, unit: str, decimals: int | None = None) -> str:
    """Return a number with its unit."""
    if unit == "percentunit":
        percent = value * 100
        if decimals is not None:
            return f"{percent:.{decimals}f}%"
        return f"{percent:.0f}%" if percent >= 10 or percent == 0 else f"{percent:.3g}%"
    if unit == "s" and 0 < abs(value) < 1:
        return f"{value * 1000:.3g} ms"
    for size, suffix in _SUFFIXES:
        if abs(value) >= size and unit == "short":
            return f"{value / size:.3g}{suffix}"
    text = f"{value:.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"
    return text + (" s" if unit == "s" else unit.partition("suffix:")[2])
