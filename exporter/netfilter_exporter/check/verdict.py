"""The verdict: one line that claims no more than what was seen, and what was not checked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from netfilter_exporter.check.context import FAMILY, NEEDS_ROLE, Context
from netfilter_exporter.check.findings import Finding, Severity, count
from netfilter_exporter.check.flow_watch import NewFlows
from netfilter_exporter.check.flows import UNANSWERED
from netfilter_exporter.check.proof import Proof
from netfilter_exporter.facts.engines import other_engines
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.rules.families import Family
from netfilter_exporter.rules.matchability import Reason

_BROKEN = {Severity.CRITICAL: "is broken", Severity.WARNING: "needs attention"}


def doubt(context: Context, *, require_proof: bool) -> str:
    """Return why the host cannot be called free of faults, or nothing."""
    return next(_doubts(context, require_proof=require_proof), "")


def _doubts(context: Context, *, require_proof: bool) -> Iterator[str]:
    for family in Family:
        unread = context.unread(family)
        if unread and not context.unwanted(family):
            yield f"not all rules could be read: {unread}"
    doing = context.doing_nat
    if not doing and context.undecided(Family.IPV4):
        yield f"no translating rule is loaded. {NEEDS_ROLE[Family.IPV4]}"
    for family in context.judged:
        if error := context.unproven(family):
            yield f"tracking is not proven: {error}"
    idle = [family for family in doing if _is_idle(context, family) and context.undecided(family)]
    if idle and not any(_is_forwarded(context, family) for family in doing):
        yield f"{FAMILY[idle[0]]} forwarding is disabled. {NEEDS_ROLE[idle[0]]}"
    if require_proof and doing and context.proof is not Proof.OBSERVED:
        yield "no translation was observed, and --require-proof requires one"
    if require_proof and doing and not _arrives(context):
        yield f"{', '.join(_outcome(context))}, and --require-proof requires replies"


def verdict(context: Context, findings: Sequence[Finding], doubt: str) -> str:
    """Return one line; `findings` are sorted, the worst first."""
    broken = [finding for finding in findings if finding.severity in _BROKEN]
    if broken:
        return _broken(context, broken)
    if doubt:
        return f"Cannot determine whether NAT works: {doubt.rstrip('.')}."
    if not context.doing_nat:
        return "No fault found: NAT is not wanted here."
    return _faultless(context, _refused(findings))


def _refused(findings: Sequence[Finding]) -> str:
    """Return what is said of rules that send connections to a port where nothing listens."""
    reason = Reason.NO_LISTENER.value
    return next((f.summary for f in findings if f.evidence.get("reason") == reason), "")


def _broken(context: Context, broken: Sequence[Finding]) -> str:
    first = broken[0]
    more = f" (and {len(broken) - 1} more)" if len(broken) > 1 else ""
    subject = "NAT" if context.doing_nat or "Nat" in first.alert else "Connection tracking"
    return f"{subject} {_BROKEN[first.severity]}: {first.summary.rstrip('.')}{more}"


def _faultless(context: Context, refused: str) -> str:
    doing = context.doing_nat
    rules = ", ".join(_means(context, family) for family in doing)
    idle = [FAMILY[family] for family in doing if _is_idle(context, family)]
    but = f" {' and '.join(idle)} is not forwarded." if idle else ""
    seen = ", ".join(_outcome(context))
    if refused:
        return f"No fault found: {rules}{_tracking(context)}. But {refused}{but}"
    if context.proof is not Proof.OBSERVED:
        observed = f"But {seen}" if seen else "No translation was observed"
        return f"No fault found: {rules}{_tracking(context)}. {observed}.{but}"
    if not _arrives(context):
        return f"No fault found: {rules}{_tracking(context)}. But {seen}.{but}"
    return f"NAT works: {seen}. Rules: {rules}.{but}"


def _arrives(context: Context) -> bool:
    """Return whether new connections of each family get replies, and few leave untranslated.

    Those that nothing replies to may be translated to an address that no reply reaches.
    """
    return all(
        seen.replied > (1 - UNANSWERED) * seen.connections and not seen.is_lossy
        for family, seen in context.observed.items()
        if seen.connections and family in context.judged
    )


def _means(context: Context, family: Family) -> str:
    means = [] if context.only_ruleless(family) else [count(context.rules(family), "rule")]
    means += ["IPVS"] * (family in context.ipvs)
    means += ["stateless rules"] * (family in context.stateless)
    return f"{FAMILY[family]} {' and '.join(means)}"


def _tracking(context: Context) -> str:
    families = [family for family in context.doing_nat if context.rules(family)]
    if any(context.implied(family) for family in families):
        return ", tracking implied by the rules"
    return ", tracking proven" if families else ""


def _outcome(context: Context) -> Iterator[str]:
    """Yield what became of new connections, of families that are translated here."""
    for family, seen in context.observed.items():
        if seen.connections and family in context.judged:
            connections = count(seen.connections, f"new outbound {FAMILY[family]} connection")
            replied = f"{seen.replied / seen.connections:.0%} answered"
            neither = f", {seen.lost} neither" if seen.is_lossy else ""
            yield f"{seen.translated} of {connections} translated, {replied}{neither}"


def not_checked(context: Context) -> Iterator[str]:
    """Yield what this check did not check, apart from alerts."""
    yield from _other_engines(context)
    yield from _private(context)
    yield from _uncounted(context)
    for family in context.judged:
        seen = context.observed.get(family)
        name = FAMILY[family]
        if seen is None:
            yield f"whether new {name} connections are translated ({_unseen(context)})"
        elif not seen.translated:
            yield f"whether {name} NAT works (new connections: {seen.connections}, translated: 0)"


def _other_engines(context: Context) -> Iterator[str]:
    for family in context.doing_nat:
        if family in context.ipvs:
            yield f"whether {FAMILY[family]} services of IPVS are answered"
        if family in context.stateless:
            yield f"what {FAMILY[family]} rules that write addresses translate (stateless NAT)"
    with contextlib.suppress(ReadError):
        for engine, used in other_engines(context.snapshot).items():
            if used:
                yield f"what {engine} translates"


def _private(context: Context) -> Iterator[str]:
    if isinstance(context.flows, NewFlows) and context.flows.private > 0:
        flows = count(context.flows.private, "new connection")
        yield f"{flows} between private networks (set flows.outbound to judge them)"


def _uncounted(context: Context) -> Iterator[str]:
    for ruleset in context.rulesets:
        uncounted = ruleset.facts.counted.uncounted
        if uncounted:
            rules = count(uncounted, "NAT rule")
            yield f"whether {rules} without a counter match (write: ... counter masquerade)"


def _unseen(context: Context) -> str:
    """Return why no connection was seen."""
    if isinstance(context.flows, ReadError):
        module = "add nf_conntrack_netlink to a file in /etc/modules-load.d, or run with group 0"
        return f"no sample: {context.flows}; {module}"
    if context.flows is None or context.seconds is None:
        return "no sample without --interval"
    return f"no new connection seen in {round(context.seconds, 1):g} s"


def _is_idle(context: Context, family: Family) -> bool:
    """Return whether rules for forwarded traffic have none."""
    try:
        return context.forwarded_rules(family) > 0 and not context.forwards(family)
    except ReadError:
        return False


def _is_forwarded(context: Context, family: Family) -> bool:
    """Return whether rules for forwarded traffic have traffic that is forwarded."""
    try:
        return context.forwarded_rules(family) > 0 and context.forwards(family)
    except ReadError:
        return False
