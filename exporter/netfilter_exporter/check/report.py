"""All checks together: what is told of the host, and how it ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from netfilter_exporter.check.alerts import ALERTS, Alert
from netfilter_exporter.check.context import FAMILY, NEEDS_HISTORY, NEEDS_ROLE, Context
from netfilter_exporter.check.findings import (
    Finding,
    Found,
    Severity,
    count,
    finding,
    unknown,
)
from netfilter_exporter.facts.conntrack import conntrack_entries, conntrack_limit
from netfilter_exporter.facts.forwarding import ipv4_forwarding
from netfilter_exporter.kernel.errors import NoData, ReadError, defect
from netfilter_exporter.kernel.names import printable
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.model import Action

#: As monitoring plugins end; info changes nothing.
OK, UNKNOWN = 0, 3
_EXIT = {Severity.CRITICAL: 2, Severity.WARNING: 1}

_NAMED = 4  #: interfaces, before it is too much to read


@dataclasses.dataclass(frozen=True)
class Report:
    """What is told, in the words that a person reads."""

    verdict: str  #: one line
    exit_code: int  #: 0 ok, 1 warning, 2 critical, 3 unknown
    works: tuple[str, ...]
    findings: tuple[Finding, ...]  #: the worst first
    silent: tuple[str, ...]  #: the alerts that were checked and found nothing
    seconds: float | None  #: over which rates were measured

    @property
    def broken(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity is not Severity.UNKNOWN)

    @property
    def untold(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity is Severity.UNKNOWN)


def by_summary(findings: Iterable[Finding]) -> dict[str, list[str]]:
    """Return the alerts of which the same is said, each once."""
    alerts: dict[str, list[str]] = {}
    for one in findings:
        names = alerts.setdefault(one.summary, [])
        if one.alert not in names:
            names.append(one.alert)
    return alerts


def evaluate(context: Context) -> Report:
    """Run every check; what one of them cannot read never keeps the others from being told."""
    findings: list[Finding] = []
    silent: list[str] = []
    for alert in ALERTS:
        found = [finding(alert.name, alert.severities[0], f) for f in _findings(alert, context)]
        if not found:
            silent.append(alert.name)
        findings += found
    findings.sort(key=lambda one: one.severity.rank)
    worst = findings[0].severity if findings else Severity.UNKNOWN
    doubt = _doubt(context)
    code = _EXIT.get(worst, UNKNOWN if doubt else OK)
    return Report(
        printable(_verdict(context, findings, doubt)),
        code,
        tuple(printable(line) for line in _works(context)),
        tuple(findings),
        tuple(silent),
        context.seconds,
    )


def _findings(alert: Alert, context: Context) -> Iterator[Found]:
    if alert.check is None:
        yield unknown(NEEDS_HISTORY)
        return
    try:
        yield from alert.check(context)
    except NoData:  # what it is about is not there, and that is certain
        return
    except ReadError as error:
        yield unknown(f"cannot tell: {error}")
    except Exception as error:  # a defect of ours must not hide what the others found
        yield unknown(f"cannot tell: {defect(alert.name, error)}")


# -- the verdict -------------------------------------------------------------------------------


def _doubt(context: Context) -> str:
    """Return why it cannot be told whether NAT works, or nothing."""
    for family in Family:
        unread = context.unread(family)
        if unread and not context.unwanted(family):
            return f"the rules could not all be read: {unread}"
    doing = context.doing_nat
    if not doing and context.undecided(Family.IPV4):
        return f"there is no NAT rule: {NEEDS_ROLE[Family.IPV4]}, or nat: none"
    unproven = (context.unproven(family) for family in doing)
    return next((f"tracking is not proven: {error}" for error in unproven if error), "")


def _verdict(context: Context, findings: list[Finding], doubt: str) -> str:
    broken = [f for f in findings if f.severity in _EXIT]
    if broken:
        more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
        is_nat = context.doing_nat or "Nat" in broken[0].alert
        subject = "NAT" if is_nat else "Connection tracking"
        state = "is broken" if broken[0].severity is Severity.CRITICAL else "needs attention"
        return f"{subject} {state}: {broken[0].summary.rstrip('.')}{more}"
    if doubt:
        return f"Cannot tell whether NAT works: {doubt}"
    doing = context.doing_nat
    if not doing:
        return "NAT is not wanted here, and nothing is broken."
    parts = (f"{FAMILY[family]} {count(context.rules(family), 'rule')}" for family in doing)
    idle = [FAMILY[family] for family in doing if _is_idle(context, family)]
    but = f" {' and '.join(idle)} is not forwarded." if idle else ""
    return f"NAT works: {', '.join(parts)}, tracking proven.{but}"


def _is_idle(context: Context, family: Family) -> bool:
    """Tell whether rules for forwarded traffic have none, which is no fault in IPv6."""
    try:
        return context.forwarded_rules(family) > 0 and not context.forwards(family)
    except ReadError:
        return False


# -- what works --------------------------------------------------------------------------------


def _works(context: Context) -> Iterator[str]:
    for part in (_rules, _tracked, _forwards, _table):
        try:
            yield from part(context)
        except ReadError:  # noqa: PERF203 - it is told where it is judged
            continue


def _rules(context: Context) -> Iterator[str]:
    for family in Family:
        for ruleset in context.rulesets:
            reached = ruleset.facts.reached
            actions = [f"{reached[family, a]} {a.value}" for a in Action if reached[family, a]]
            if actions and family in ruleset.families:
                listed = ", ".join(actions)
                yield f"{FAMILY[family]} rules in {ruleset.backend.value}: {listed}"


def _tracked(context: Context) -> Iterator[str]:
    for family in Family:
        if context.tracked(family):
            yield f"{FAMILY[family]} connections are tracked (proven)"


def _forwards(context: Context) -> Iterator[str]:
    for family in Family:
        if context.forwarded_rules(family) and context.forwards(family):
            by = _by_interfaces(context) if family is Family.IPV4 else ""
            rest = ", as far as rules accept it" if context.forward_drops(family) else ""
            yield f"{FAMILY[family]} is forwarded{by}{rest}"


def _by_interfaces(context: Context) -> str:
    switches = ipv4_forwarding(context.snapshot)
    off = sorted(name for name, on in switches.items() if not on)
    but = f", not by {', '.join(off[:_NAMED])}" if off else ""
    more = f" and {len(off) - _NAMED} more" if len(off) > _NAMED else ""
    return f" by {count(len(switches) - len(off), 'interface')}{but}{more}"


def _table(context: Context) -> Iterator[str]:
    limit, entries = conntrack_limit(context.snapshot), conntrack_entries(context.snapshot)
    if limit > 0:
        yield f"table of connections: {entries} of {limit} ({entries / limit:.0%})"
