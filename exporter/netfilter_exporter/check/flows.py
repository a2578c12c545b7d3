"""Checks of new connections: whether they are translated, and replied."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator

from netfilter_exporter.check import commands, shell
from netfilter_exporter.check.context import FAMILY, Context
from netfilter_exporter.check.findings import Found, Severity, unknown
from netfilter_exporter.check.flow_watch import LOST_SHARE, NewFlows
from netfilter_exporter.check.proof import LOST_BIRTHS
from netfilter_exporter.check.table import NOT_MEASURED
from netfilter_exporter.facts.conntrack import conntrack_present
from netfilter_exporter.facts.egress import Lost, lost_replies
from netfilter_exporter.facts.flows import ports_in_use
from netfilter_exporter.facts.forwarding import closed_interfaces
from netfilter_exporter.facts.matchability import translates_at
from netfilter_exporter.flows.births import Replied
from netfilter_exporter.kernel.addresses import packed
from netfilter_exporter.kernel.conntrack.flow import PROTOCOLS
from netfilter_exporter.kernel.errors import ReadError, or_none
from netfilter_exporter.kernel.sysctl import names as sysctl_names
from netfilter_exporter.rules.families import Family

#: As in the alerts.
LOST_SOURCES = 3
UNANSWERED, UNANSWERED_BIRTHS, UNANSWERED_SOURCES, ANSWERED_SOURCES = 0.95, 50, 3, 3

PORTS_WARNING, PORTS_CRITICAL = 0.7, 0.85

_ROUTE = {
    Family.IPV4: shell.fixed("ip route get 203.0.113.1"),
    Family.IPV6: shell.fixed("ip route get 2001:db8::1"),
}
_RULES = {Family.IPV4: shell.fixed("ip rule"), Family.IPV6: shell.fixed("ip -6 rule")}

_MOST_CLOSED = 3  #: interfaces that are named

_KNOWN = (Replied.YES, Replied.NO)


def nat_untranslated(context: Context) -> Iterator[Found]:
    """Most new outbound connections are neither translated nor replied."""
    if isinstance(context.flows, NewFlows):
        for family in context.judged:
            yield from _untranslated(context, context.flows, family)
    else:
        yield from _unsampled(context)


def nat_unanswered(context: Context) -> Iterator[Found]:
    """Nearly no translated connection is replied, or no reply finds its way."""
    for lost in _lost(context):
        yield _unrouted(context, lost)
    if isinstance(context.flows, NewFlows):
        for family in context.doing_nat:
            yield from _unanswered(context, context.flows, family)
    else:
        yield from _unsampled(context)


def nat_ports_filling(context: Context) -> Iterator[Found]:
    """Most ports of a translated address are in use towards one destination."""
    if not isinstance(context.flows, NewFlows):
        yield from _unsampled(context)
        return
    for use in ports_in_use(context.snapshot.host):
        ratio = use.used / use.size
        if ratio <= PORTS_WARNING:
            continue
        address = str(ipaddress.ip_address(use.towards.address))
        protocol = PROTOCOLS[use.towards.protocol]
        yield Found(
            f"{address} uses {ratio:.0%} of its {protocol} ports towards one destination.",
            "A connection needs a port that no other connection to the same destination has."
            " When none is free, the kernel drops new connections.",
            {"address": address, "protocol": protocol, "used": round(use.used), "ports": use.size},
            (
                shell.comment("list the destinations, on a terminal:"),
                shell.fixed("netfilter_exporter check --flows"),
            ),
            Severity.CRITICAL if ratio > PORTS_CRITICAL else None,
        )


def _unsampled(context: Context) -> Iterator[Found]:
    """Say why there is no sample, where one is missed."""
    if not conntrack_present(context.snapshot) or not context.doing_nat:
        return
    if isinstance(context.flows, ReadError):
        yield unknown(f"Unknown: {context.flows}")
    else:
        yield unknown(NOT_MEASURED)


def _untranslated(context: Context, flows: NewFlows, family: Family) -> Iterator[Found]:
    lost = flows.count(family, Replied.NO, translated=False)
    judged = lost + flows.count(family, Replied.YES, translated=False)
    judged += flows.count(family, *_KNOWN, translated=True)
    bad = flows.count_sources(family, Replied.NO, translated=False)
    sources = sum(flows.count_sources(family, *_KNOWN, translated=t) for t in (True, False))
    if lost < LOST_BIRTHS or lost <= LOST_SHARE * judged:
        return
    if bad < LOST_SOURCES or bad <= LOST_SHARE * sources:
        return
    yield Found(
        f"{FAMILY[family]}: {lost} of {judged} new outbound connections leave untranslated and"
        " get no reply.",
        "Their packets match no NAT rule. An earlier rule ends the evaluation, or the rule"
        " names another network, another uplink, a mark that nothing sets, or an empty set.",
        {"family": family.value, "untranslated": lost, "judged": judged, "sources": bad},
        (
            shell.comment("list sources and destinations, on a terminal:"),
            shell.fixed("netfilter_exporter check --flows"),
            shell.comment("show new connections, and their route:"),
            shell.fixed("conntrack -L -p tcp --state SYN_SENT | head -3"),
            _ROUTE[family],
        ),
        # Without a configured role, history decides whether that is usual here.
        None if context.needs_rules(family) else Severity.WARNING,
    )


def _unanswered(context: Context, flows: NewFlows, family: Family) -> Iterator[Found]:
    silent = flows.count(family, Replied.NO, translated=True)
    judged = silent + flows.count(family, Replied.YES, translated=True)
    bad = flows.count_sources(family, Replied.NO, translated=True)
    good = flows.count_sources(family, Replied.YES, translated=True)
    if silent < UNANSWERED_BIRTHS or silent <= UNANSWERED * judged:
        return
    if bad < UNANSWERED_SOURCES or good >= ANSWERED_SOURCES or bad <= UNANSWERED * (bad + good):
        return
    yield Found(
        f"{FAMILY[family]}: no reply to {silent} of {judged} translated connections.",
        "The upstream is down, this host drops the replies, or it no longer has the address"
        " that it translates to.",
        {"family": family.value, "unanswered": silent, "judged": judged, "sources": bad},
        (
            _ROUTE[family],
            shell.fixed("ip -brief address"),
            shell.comment("the last dst= of each line is the address that it translates to:"),
            shell.fixed("conntrack -L --src-nat -p tcp --state SYN_SENT | head -3"),
            shell.comment("a reply came, and did not reach the client:"),
            shell.fixed("conntrack -L --src-nat -p tcp --state SYN_RECV | head -3"),
            *_closed(context, family),
        ),
    )


def _lost(context: Context) -> Collection[Lost]:
    """Return the ways out that translated packets take and replies do not, each pair once.

    Of UDP the flow table does not show it: packets are tracked before their route is looked up.
    """
    found = lost_replies(context.snapshot, context.doing_nat)
    lost = {(each.way.family, each.way.arriving, each.uplink): each for each in found}
    return [
        each
        for (family, _, uplink), each in lost.items()
        if translates_at(context.snapshot, family, uplink)
    ]


def _unrouted(context: Context, lost: Lost) -> Found:
    way, uplink = lost.way, lost.uplink
    client = str(ipaddress.ip_address(packed(way.family, way.source)))
    server = str(ipaddress.ip_address(way.destination))
    listed = _RULES[way.family]
    asked = shell.command("ip", "route", "get", client, "from", server, "iif", uplink)
    why, remedy = _why_unrouted(context, lost)
    return Found(
        f"{FAMILY[way.family]}: replies that arrive at {uplink} do not get to {way.arriving}.",
        why,
        {"family": way.family.value, "interface": uplink, "towards": way.arriving},
        (asked, listed, *remedy),
    )


def _why_unrouted(context: Context, lost: Lost) -> tuple[str, tuple[shell.Line, ...]]:
    """Return why, and what lets them pass."""
    uplink, family = lost.uplink, lost.way.family
    if family is Family.IPV4 and uplink in closed_interfaces(context.snapshot):
        name = sysctl_names.to_name(f"net/ipv4/conf/{uplink}/forwarding")
        return f"{name} is 0: what arrives there is dropped.", commands.set_sysctl(name, 1)
    note = shell.comment(f"correct the rule or route, or add {lost.way.arriving}'s to its table")
    return f"A rule or route sends what arrives at {uplink} elsewhere, or refuses it.", (note,)


def _closed(context: Context, family: Family) -> Iterator[shell.Line]:
    """Yield how interfaces that drop replies would forward them, if they are few."""
    if family is not Family.IPV4:
        return
    closed = or_none(lambda: closed_interfaces(context.snapshot)) or ()
    if len(closed) <= _MOST_CLOSED:
        for name in closed:
            yield shell.comment(
                f"{name} does not forward what it receives; if replies arrive there:"
            )
            yield from commands.set_sysctl(
                sysctl_names.to_name(f"net/ipv4/conf/{name}/forwarding"), 1
            )
