"""All checks together: what is reported of the host, and the exit code."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from netfilter_exporter.check.alerts import ALERTS, Alert
from netfilter_exporter.check.context import FAMILY, NEEDS_HISTORY, Context
from netfilter_exporter.check.findings import (
    Finding,
    Found,
    Severity,
    count,
    finding,
    unknown,
)
from netfilter_exporter.check.plugin import UNKNOWN
from netfilter_exporter.check.proof import Proof
from netfilter_exporter.check.verdict import doubt, not_checked, verdict
from netfilter_exporter.facts.conntrack import conntrack_entries, conntrack_limit
from netfilter_exporter.facts.forwarding import ipv4_forwarding
from netfilter_exporter.kernel.errors import NoData, ReadError, defect
from netfilter_exporter.kernel.names import printable
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.model import Action

#: As monitoring plugins end; info changes nothing.
OK = 0
_EXIT = {Severity.CRITICAL: 2, Severity.WARNING: 1}

_NAMED = 4  #: interfaces, before it is too much to read


@dataclasses.dataclass(frozen=True)
class Report:
    """The report, in the words that a person reads."""

    verdict: str  #: one line
    exit_code: int  #: 0 ok, 1 warning, 2 critical, 3 unknown
    proof: Proof
    works: tuple[str, ...]  #: what was checked and is healthy
    not_checked: tuple[str, ...]  #: what was not, apart from alerts
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


def evaluate(context: Context, *, require_proof: bool = False) -> Report:
    """Run every check; what one of them cannot read never hides what the others find.

    With `require_proof`, NAT that was not observed to translate is unknown.
    """
    findings: list[Finding] = []
    silent: list[str] = []
    for alert in ALERTS:
        if alert.of_namespaces and context.namespaces is None:
            continue
        found = [finding(alert.name, alert.severities[0], f) for f in _findings(alert, context)]
        if not found:
            silent.append(alert.name)
        findings += found
    findings.sort(key=lambda one: one.severity.rank)
    try:
        judged = _judged(context, findings, require_proof=require_proof)
    except ReadError as error:  # what all of it rests on is still being read
        judged = _unjudged(error)
    except Exception as error:  # a defect of ours must not hide what was found
        judged = _unjudged(defect("verdict", error))
    worst = findings[0].severity if findings else Severity.UNKNOWN
    return Report(
        printable(judged.verdict),
        _EXIT.get(worst, UNKNOWN if judged.doubt else OK),
        judged.proof,
        tuple(printable(line) for line in judged.works),
        tuple(printable(line) for line in judged.not_checked),
        tuple(findings),
        tuple(silent),
        context.seconds,
    )


class _Judged(NamedTuple):
    """What a report says apart from its findings."""

    verdict: str
    doubt: str
    proof: Proof
    works: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()


def _unjudged(error: ReadError) -> _Judged:
    return _Judged(f"Cannot determine whether NAT works: {error}.", str(error), Proof.NONE)


def _judged(context: Context, findings: Sequence[Finding], *, require_proof: bool) -> _Judged:
    why = doubt(context, require_proof=require_proof)
    return _Judged(
        verdict(context, findings, why),
        why,
        context.proof,
        tuple(_works(context)),
        tuple(not_checked(context)),
    )


def _findings(alert: Alert, context: Context) -> Iterator[Found]:
    if alert.check is None:
        yield unknown(NEEDS_HISTORY)
        return
    try:
        yield from alert.check(context)
    except NoData:  # its subject is known to be absent
        return
    except ReadError as error:
        yield unknown(f"Unknown: {error}")
    except Exception as error:  # a defect of ours must not hide what the others found
        yield unknown(f"Unknown: {defect(alert.name, error)}")


# -- what is healthy ----------------------------------------------------------------------------


def _works(context: Context) -> Iterator[str]:
    for part in (_rules, _tracked, _forwards, _table, _confined):
        try:
            yield from part(context)
        except ReadError:  # noqa: PERF203 - it is reported where it is judged
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
            how = "implied by the rules" if context.implied(family) else "proven"
            yield f"{FAMILY[family]} connections are tracked ({how})"


def _forwards(context: Context) -> Iterator[str]:
    for family in Family:
        if context.forwarded_rules(family) and context.forwards(family):
            by = _by_interfaces(context) if family is Family.IPV4 else ""
            rest = ", if rules accept it" if context.forward_drops(family) else ""
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


def _confined(context: Context) -> Iterator[str]:
    """Of the process that serves; the command `check` keeps the privileges of its caller."""
    sandbox = context.snapshot.host.sandbox
    if sandbox:
        yield f"sandbox of the exporter: {sandbox}"
