#!/usr/bin/env python3
"""Rewrites the metric table in README.md from the rows of the code."""

import sys
from pathlib import Path

from netfilter_exporter.collectors import load
from netfilter_exporter.metrictable import metric_table, replace_table

README = Path(__file__).parent.parent / "README.md"


def main() -> int:
    text = README.read_text(encoding="utf-8")
    README.write_text(replace_table(text, metric_table(load())), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
