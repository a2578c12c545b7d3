#!/usr/bin/env python3
"""Write the dashboards, or see with --check that they are up to date.

Needs Python 3.11 and grafana-foundation-sdk==0.0.21. The JSON is committed: nobody who uses the
dashboards needs this.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from netfilter_dashboards.fleet import fleet
from netfilter_dashboards.host import host

FOLDER = Path(__file__).parent


def dashboards() -> dict[str, str]:
    """Return the text of each file."""
    return {"netfilter-fleet.json": fleet(), "netfilter-host.json": host()}


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the files; returns 1 where --check finds one that is not up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(argv).check
    stale = []
    for name, text in dashboards().items():
        file = FOLDER / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                file.write_text(text, encoding="utf-8")
    sys.stdout.write("".join(f"{name}: {'stale' if check else 'written'}\n" for name in stale))
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
