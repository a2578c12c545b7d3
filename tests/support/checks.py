"""The report on a recorded host."""

from __future__ import annotations

from netfilter_exporter import collectors
from netfilter_exporter.check.context import Context, Counters
from netfilter_exporter.check.findings import Finding
from netfilter_exporter.check.flow_watch import NewFlows
from netfilter_exporter.check.report import Report, evaluate
from netfilter_exporter.collection import Gatherer, Run
from netfilter_exporter.config import model as config
from netfilter_exporter.exporter_metrics import page_families
from netfilter_exporter.exposition import Exposition
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.flows.births import Class, Replied
from netfilter_exporter.flows.scope import Scope
from netfilter_exporter.kernel.conntrack.flow import Translated
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.rules.families import Family
from support.host import FakeHost
from support.page import Page

#: The alerts' names without what they share.
PREFIX = "Netfilter"


def scrape(host: FakeHost, configuration: str = "") -> Run:
    """Return one run of all collectors, with the text of a configuration file."""
    parsed = config.parse(configuration, "check.yml")
    gatherer = Gatherer(Host(host.system, parsed))
    try:
        return gatherer.gather(collectors.load().values())
    finally:
        gatherer.close()


def check(host: FakeHost, configuration: str = "", before: Counters | None = None) -> Report:
    """Return the report on `host`; `before` are counters of a look before."""
    return report_on(scrape(host, configuration), before)


def report_on(
    run: Run, before: Counters | None = None, flows: NewFlows | ReadError | None = None
) -> Report:
    """Return the report on a run that has been made."""
    return evaluate(Context(run, before, flows))


def page_of(run: Run) -> Page:
    """Return the page of metrics of the same run."""
    text, _ = Exposition().render(page_families(run), accept="")
    return Page(text.decode())


def names(report: Report) -> dict[str, str]:
    """Return the severity of each alert that was found, the worst of it, by short name."""
    found: dict[str, str] = {}
    for finding in report.broken:  # the worst come first
        found.setdefault(finding.alert.removeprefix(PREFIX), finding.severity.value)
    return found


def found(report: Report, name: str) -> list[Finding]:
    """Return the findings of an alert that are not unknown."""
    return [f for f in report.broken if f.alert == PREFIX + name]


def one(report: Report, name: str) -> Finding:
    """Return the only finding of an alert that is not unknown."""
    (finding,) = found(report, name)
    return finding


def untold(report: Report, name: str) -> list[str]:
    """Return why an alert cannot be told."""
    return [f.summary for f in report.untold if f.alert == PREFIX + name]


def new_flows(
    translated: int = 0,
    unanswered: int = 0,
    lost: int = 0,
    sources: int = 5,
    good: int | None = None,
) -> NewFlows:
    """Return outbound IPv4 flows: so many replied, without a reply, and without a translation.

    Those that are bad are of so many `sources`, the others of `good` or as many.
    """
    classes = (
        (Class(Family.IPV4, Scope.OUTBOUND, Translated.SOURCE, Replied.YES), translated),
        (Class(Family.IPV4, Scope.OUTBOUND, Translated.SOURCE, Replied.NO), unanswered),
        (Class(Family.IPV4, Scope.OUTBOUND, Translated.NONE, Replied.NO), lost),
    )
    births = {class_: number for class_, number in classes if number}
    of_good = sources if good is None else good
    distinct = {c: of_good if c.replied is Replied.YES else sources for c in births}
    return NewFlows(births, {}, distinct)
