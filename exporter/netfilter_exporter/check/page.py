"""A report as a page for a browser: one file, no script, readable on a telephone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from netfilter_exporter import __version__
from netfilter_exporter.check.document import STATUS
from netfilter_exporter.check.findings import Finding
from netfilter_exporter.check.report import Report, by_summary
from netfilter_exporter.collection import Outcome

#: Every colour has a contrast of at least 4.5 to 1 on what it stands on, in both schemes.
_STYLE = """\
:root { color-scheme: light dark;
  --page: #ffffff; --box: #f3f4f6; --text: #1b1f24; --soft: #4d5560; --link: #0a57b8;
  --ok: #176b2c; --critical: #b3140f; --warning: #8a4b00; --info: #0a57b8; --unknown: #4d5560 }
@media (prefers-color-scheme: dark) { :root {
  --page: #14171b; --box: #20252b; --text: #e8eaed; --soft: #b0b8c1; --link: #8ab8ff;
  --ok: #6fd486; --critical: #ff8a80; --warning: #ffbd66; --info: #8ab8ff; --unknown: #b0b8c1 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: var(--page);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.1rem; margin: 0 }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem }
h3 { font-size: 1rem; margin: 0 0 .25rem }
p, ul, dl { margin: 0 0 .5rem }
ul { padding-left: 1.25rem }
a { color: var(--link) }
nav, .soft, dt { color: var(--soft) }
dd { margin: 0 0 .5rem }
.verdict { font-size: 1.35rem; font-weight: 600; margin: 1rem 0; padding-left: .75rem;
  border-left: .4rem solid; line-height: 1.3 }
article { background: var(--box); padding: .75rem; margin: 0 0 1rem; border-left: .4rem solid }
article > * { color: var(--text) }
article > h3 > b { text-transform: uppercase }
pre { margin: 0; padding: .5rem; background: var(--page); white-space: pre-wrap;
  font: .875rem/1.5 ui-monospace, monospace }
.ok, .ok b { color: var(--ok) }
.critical, .critical h3 > b { color: var(--critical) }
.warning, .warning h3 > b { color: var(--warning) }
.info, .info h3 > b { color: var(--info) }
.unknown { color: var(--unknown) }
"""

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{status}: netfilter exporter</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>netfilter exporter</h1>
<nav>Version {version}. <a href="{metrics}">Metrics</a></nav>
</header>
<main>
<p class="verdict {status}">{verdict}</p>
{sections}
</main>
</body>
</html>
"""

Row = tuple[str, str, Outcome]  #: name, help and outcome of a collector


def render(report: Report, collectors: Iterable[Row], metrics: str) -> bytes:
    """Return the page; `metrics` is the path of the metrics."""
    sections = (
        *_section("Healthy", _list(report.works)),
        *_section("Problems", [line for f in report.broken for line in _finding(f)]),
        *_section("Not checked", _not_checked(report)),
        *_section("Collectors", _collectors(collectors)),
    )
    return _PAGE.format(
        status=STATUS[report.exit_code],
        style=_STYLE,
        version=escape(__version__),
        metrics=escape(metrics),
        verdict=escape(report.verdict),
        sections="\n".join(sections),
    ).encode("utf-8", "backslashreplace")


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    lines = list(lines)
    if lines:
        yield f"<section>\n<h2>{title}</h2>"
        yield from lines
        yield "</section>"


def _list(items: Iterable[str]) -> Iterator[str]:
    lines = [f'<li><span class="ok">ok</span> {escape(item)}</li>' for item in items]
    if lines:
        yield "<ul>\n" + "\n".join(lines) + "\n</ul>"


def _finding(finding: Finding) -> Iterator[str]:
    severity = finding.severity.value
    yield f'<article class="{severity}">'
    yield f"<h3><b>{severity}</b> {escape(finding.alert)}</h3>"
    yield f"<p>{escape(finding.summary)}</p>"
    if finding.why:
        yield f'<p class="soft">{escape(finding.why)}</p>'
    if finding.evidence:
        seen = ", ".join(f"{key}={value}" for key, value in finding.evidence.items())
        yield f'<p class="soft">Seen: {escape(seen)}</p>'
    if finding.remedy:
        yield f"<pre>{escape(chr(10).join(finding.remedy))}</pre>"
    yield "</article>"


def _not_checked(report: Report) -> Iterator[str]:
    if report.not_checked:
        yield "<ul>"
        yield from (f"<li>{escape(line)}</li>" for line in report.not_checked)
        yield "</ul>"
    grouped = by_summary(report.untold)
    if grouped:
        yield "<dl>"
        for summary, alerts in grouped.items():
            yield f"<dt>{escape(summary)}</dt><dd>{escape(', '.join(alerts))}</dd>"
        yield "</dl>"


def _collectors(rows: Iterable[Row]) -> Iterator[str]:
    yield "<ul>"
    for name, text, outcome in rows:
        kind = "ok" if outcome.success else "warning"
        status = f'<span class="{kind}">{outcome.status.value}</span>'
        yield f"<li><b>{escape(name)}</b>: {escape(text)}: {status}</li>"
    yield "</ul>"
