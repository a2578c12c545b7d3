#!/usr/bin/env python3
"""Draw the pictures of the README: a fleet in namespaces, healthy for a while, and then not.

Run as root, with what the tests need on the path:

    PYTHONPATH=exporter:tests:tests/grafana python tests/grafana/pictures.py
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import boards
import hosts
import live

HEALTHY_SECONDS, BROKEN_SECONDS, PER_SECOND = 200, 120, 60


def main():
    """Write grafana/images."""
    folder = Path(tempfile.mkdtemp())
    with live.fleet("3", folder, live.quick_rules(folder)) as fleet:
        hosts.router_traffic(fleet.router, HEALTHY_SECONDS + BROKEN_SECONDS, PER_SECOND)
        time.sleep(HEALTHY_SECONDS)
        fleet.break_it()
        time.sleep(BROKEN_SECONDS)
        for name in boards.NAMES:
            draw(fleet, name)
    return 0


def draw(fleet, name):
    inside = ("nsenter", f"--net=/run/netns/{fleet.watcher.name}")
    minutes = (HEALTHY_SECONDS + BROKEN_SECONDS) / 60
    command = [*inside, sys.executable, str(boards.FOLDER / "render.py")]
    command += [str(boards.FOLDER / f"{name}.json"), str(boards.FOLDER / "images" / f"{name}.svg")]
    command += [f"--minutes={minutes:.1f}"]
    if name == "netfilter-host":
        command.append(f"--instance={live.GATEWAY}:{hosts.PORT}")
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
