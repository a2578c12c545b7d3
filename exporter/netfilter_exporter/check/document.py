"""A report as JSON. The structure is stable: keys are added, never renamed."""

from __future__ import annotations

import json
from typing import Any

from netfilter_exporter.check.findings import Finding
from netfilter_exporter.check.report import Report

SCHEMA = 1
STATUS = {0: "ok", 1: "warning", 2: "critical", 3: "unknown"}


def document(report: Report) -> dict[str, Any]:
    """Return the report as plain values, see exporter/CHECK.md."""
    return {
        "schema": SCHEMA,
        "status": STATUS[report.exit_code],
        "exit_code": report.exit_code,
        "verdict": report.verdict,
        "interval_seconds": None if report.seconds is None else round(report.seconds, 3),
        "proof": report.proof.value,
        "works": list(report.works),
        "not_checked": list(report.not_checked),
        "findings": [_finding(finding) for finding in report.findings],
        "silent": list(report.silent),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "alert": finding.alert,
        "severity": finding.severity.value,
        "summary": finding.summary,
        "why": finding.why,
        "evidence": dict(finding.evidence),
        "remedy": list(finding.remedy),
    }


def render(report: Report, *, compact: bool = False) -> str:
    """Return the JSON text, in one line where `compact`."""
    return json.dumps(document(report), indent=None if compact else 2, ensure_ascii=False)
