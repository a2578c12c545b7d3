#!/usr/bin/env python3
"""Rewrites the tables of metrics and of alerts in README.md, from the code and from the rules."""

import sys

from netfilter_exporter import assets
from netfilter_exporter.collectors import load
from support import readme
from support.alert_table import alert_table
from support.metric_table import metric_table


def main() -> int:
    readme.write("metrics", metric_table(load()))
    readme.write("alerts", alert_table(assets.load_rules(assets.files()[assets.RULES])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
