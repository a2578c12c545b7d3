#!/usr/bin/env python3
"""Rewrites what is made of the code: the tables of documents, the man page's flags."""

import sys

from netfilter_exporter import assets
from netfilter_exporter.collectors import load
from support import man_page, readme, runbook_table, runbooks
from support.alert_table import alert_table
from support.metric_table import metric_table


def main() -> int:
    readme.write("metrics", metric_table(load()))
    readme.write("alerts", alert_table(assets.load_rules(assets.files()[assets.RULES])))
    man_page.PATH.write_text(man_page.current(man_page.PATH.read_text()))
    runbook_table.PATH.write_text(runbook_table.page(runbooks.states()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
