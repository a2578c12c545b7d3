"""A report for a person at a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from netfilter_exporter.check.findings import Finding, Severity
from netfilter_exporter.check.report import Report, by_summary

_RESET = "\x1b[0m"
_BOLD, _RED, _YELLOW, _BLUE, _GREEN = (f"\x1b[{code}m" for code in ("1", "1;31", "33", "34", "32"))
_COLOUR = {Severity.CRITICAL: _RED, Severity.WARNING: _YELLOW, Severity.INFO: _BLUE}
_BY_EXIT = {0: "\x1b[1;32m", 1: "\x1b[1;33m", 2: _RED, 3: _BOLD}


def render(report: Report, *, colour: bool, width: int = 80) -> str:
    """Return the text, whose first line is the verdict."""
    return "\n".join(_Text(colour=colour, width=max(width, 40)).lines(report)) + "\n"


class _Text:
    def __init__(self, *, colour: bool, width: int) -> None:
        self._colour = colour
        self._width = width

    def lines(self, report: Report) -> Iterator[str]:
        yield self._paint(report.verdict, _BY_EXIT[report.exit_code])
        if report.works:
            yield from self._heading("Healthy")
            for line in report.works:
                yield from self._wrapped(line, "  ok  ", "      ", _GREEN)
        if report.broken:
            yield from self._heading("Problems")
            for number, finding in enumerate(report.broken):
                if number:
                    yield ""
                yield from self._finding(finding)
        if report.not_checked or report.untold:
            yield from self._heading("Not checked")
            for line in report.not_checked:
                yield from self._wrapped(line, "  - ", "    ")
            yield from self._untold(report.untold)
        yield ""
        yield from self._wrapped(f"{len(report.silent)} other alerts checked: nothing found.")

    def _heading(self, text: str) -> Iterator[str]:
        yield ""
        yield self._paint(text, _BOLD)

    def _finding(self, finding: Finding) -> Iterator[str]:
        label = self._paint(finding.severity.value.upper(), _COLOUR[finding.severity])
        yield f"  {label} {finding.alert}"
        yield from self._wrapped(finding.summary, "    ", "    ")
        if finding.why:
            yield from self._wrapped(finding.why, "    why: ", "         ")
        if finding.evidence:
            seen = ", ".join(f"{key}={value}" for key, value in finding.evidence.items())
            yield from self._wrapped(seen, "    seen: ", "          ")
        if finding.remedy:
            yield "    do:"
            for line in finding.remedy:
                yield f"      {line}"  # never wrapped: it is to be pasted

    def _untold(self, findings: Iterable[Finding]) -> Iterator[str]:
        for summary, names in by_summary(findings).items():
            yield from self._wrapped(f"{summary}:", "  ", "  ")
            yield from self._wrapped(", ".join(names), "    ", "    ")

    def _wrapped(
        self, text: str, first: str = "", rest: str = "", colour: str = ""
    ) -> Iterator[str]:
        lines = textwrap.wrap(
            text,
            self._width,
            initial_indent=first,
            subsequent_indent=rest,
            break_on_hyphens=False,
            break_long_words=False,
        )
        if colour and lines:
            lines[0] = self._paint(first, colour) + lines[0][len(first) :]
        yield from lines

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colour else text
