"""The table of all metrics in exporter/METRICS.md, made from the rows of the code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from netfilter_exporter import exporter_metrics, process
from netfilter_exporter.collectors.base import Collector, Metric


def metric_table(collectors: Mapping[str, Collector]) -> str:
    """Return the table in Markdown: the exporter's own rows, then those of each collector."""
    sections = [
        _section(
            "The exporter itself",
            (*exporter_metrics.ROWS, exporter_metrics.TEXTFILE_ROW, *process.ROWS),
        )
    ]
    sections.extend(
        _section(f"Collector `{collector.name}`: {_help(collector)}", collector.metrics)
        for collector in collectors.values()
    )
    return "\n".join(sections)


def _help(collector: Collector) -> str:
    opt_in = "" if collector.by_default else f" (with `--collector.{collector.name}`)"
    return collector.help + opt_in


def _section(title: str, rows: Iterable[Metric[Any]]) -> str:
    lines = [
        f"\n**{title}**\n",
        "| metric | labels | type | meaning | source |",
        "|---|---|---|---|---|",
    ]
    by_name: dict[str, list[Metric[Any]]] = {}
    for row in rows:
        by_name.setdefault(row.full_name, []).append(row)
    lines.extend(_line(variants) for variants in by_name.values())
    return "\n".join([*lines, ""])


def _line(variants: list[Metric[Any]]) -> str:
    """Return the line of a metric; its variants differ in labels and in the option they need."""
    row = variants[0]
    labels = ", ".join(filter(None, map(_labels, variants)))
    cells = (f"`{row.full_name}`", labels, row.type, row.help, row.source)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _labels(row: Metric[Any]) -> str:
    labels = ", ".join(row.labels)
    if not row.option:
        return labels
    flag = f"`--collector.{row.option}`"
    return f"{labels} (with {flag})" if labels else f"with {flag}"
