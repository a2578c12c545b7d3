"""The systemd units that are shipped, and what they say."""

from __future__ import annotations

from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "exporter" / "deploy"
SYSTEMD = DEPLOY / "systemd"


def settings(unit: str) -> dict[str, list[str]]:
    """Return the settings of a unit by name, each as often as it stands there."""
    found: dict[str, list[str]] = {}
    for line in (SYSTEMD / unit).read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found
