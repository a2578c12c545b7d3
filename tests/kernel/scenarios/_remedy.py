"""Running what `netfilter_exporter check` prints, as a person would who pastes it."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any, Callable

from netfilter_exporter.check.command import Checker
from netfilter_exporter.config.model import load
from netfilter_exporter.kernel.system import System

REBOOT = "systemctl reboot"
MODULES_LOAD = "/etc/modules-load.d/netfilter.conf"
SYSCTL = "/etc/sysctl.d/zz-netfilter.conf"


def printed(config: str, *alerts: str) -> list[str]:
    """Return the lines of the remedies of some alerts, each once, as `check` prints them now."""
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(config)
        file.flush()
        checker = Checker(System(), load(file.name))
    try:
        findings = checker.report().broken
    finally:
        checker.close()
    wanted = {f"Netfilter{alert}" for alert in alerts}
    lines = (line for found in findings if found.alert in wanted for line in found.remedy)
    return list(dict.fromkeys(lines))


#: What systemd does, as the guest has none.
_SYSTEMD = {
    "systemctl restart systemd-sysctl": "sysctl -p /etc/sysctl.d/*.conf",
}


def paste(lines: Sequence[str]) -> list[str]:
    """Run the commands among `lines` in a shell; return those that fail, and why."""
    problems = []
    for line in lines:
        done = subprocess.run(
            ["sh", "-c", _SYSTEMD.get(line, line)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            problems.append(f"{line}: {done.stderr.strip()}")
    return problems


def follow(
    *alerts: str,
    flows: Sequence[str] = ("out",),
    config: str = "nat: required\n",
    then: Callable[[Any], None] | None = None,
) -> Callable[[Any], list[str]]:
    """Return a check of a scenario: what is printed for `alerts` lets `flows` through again.

    `then` is what the remedy leaves to a person: to load the rules from where the host keeps them.
    """

    def check(router: Any) -> list[str]:
        for file in (MODULES_LOAD, SYSCTL):  # systemd has these folders on every host
            router.write(file, "")
        lines = printed(config, *alerts)
        if not lines:
            return [f"no remedy for {', '.join(alerts)}"]
        problems = paste(lines)
        if then:
            then(router)
        return problems + [
            f"after the remedy {lines}: no {kind}"
            for kind in flows
            if not router.flows(kind, expected=True)
        ]

    return check
