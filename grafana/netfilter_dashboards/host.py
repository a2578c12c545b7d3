"""One host: does NAT work, what is wrong, since when, and the runbook. Details stand below."""

from __future__ import annotations

from netfilter_dashboards import queries as q
from netfilter_dashboards import states
from netfilter_dashboards.board import (
    HOST_UID,
    RUNBOOK,
    RUNBOOK_TITLE,
    About,
    Annotation,
    Placed,
    Row,
    build,
)
from netfilter_dashboards.findings import findings
from netfilter_dashboards.host_details import details
from netfilter_dashboards.panels import Column, Query, stats, table, timeline

_BY_FAMILY = "{{instance}} {{family}}"
_BY_HOST = "{{instance}}"


def _alerts(severity: str) -> str:
    return q.alerts_of_host(f'severity="{severity}"')


def _summary() -> Row:
    return Row(
        5,
        (
            Placed(
                4,
                "Is NAT working?",
                "OK: NAT rules exist, connections are proven to be tracked, the table has room,"
                " and forwarding works where it must. Otherwise the first fault. See alerts: NAT"
                " may work for some clients and not for others. Not used: no NAT rule, or none"
                " that can have an effect.",
                stats(Query(q.VERDICT, _BY_FAMILY), states=states.VERDICT),
            ),
            Placed(
                4,
                "Connection tracking",
                "Whether connections are proven to be tracked. NAT rules require it.",
                stats(Query(q.TRACKING_STATE, _BY_FAMILY), states=states.SWITCH),
            ),
            Placed(
                3,
                "NAT rules",
                "NAT rules of both backends. A rule of an inet table counts in both families.",
                stats(Query(q.RULES, _BY_FAMILY)),
            ),
            Placed(
                4,
                "Forwarding",
                "Whether any interface except lo forwards. NAT rules for forwarded traffic"
                " require it.",
                stats(Query(q.FORWARDING_STATE, _BY_FAMILY), states=states.SWITCH),
            ),
            Placed(
                2,
                "Table fill",
                "Entries of the connection tracking table against its limit. A full table drops new"
                " connections.",
                stats(Query(q.FILL, _BY_HOST), unit="percentunit", limits=states.FILL, decimals=0),
            ),
            Placed(
                2,
                "Drops, 5 min",
                "Packets dropped in 5 minutes because the table had no room, without insert races.",
                stats(
                    Query(q.DROPS_NOW, _BY_HOST),
                    unit="short",
                    limits=states.DROPS_5M,
                    decimals=0,
                ),
            ),
            Placed(
                3,
                "Alerts",
                "Critical alerts and warnings that fire. Requires the alert rules in Prometheus.",
                stats(
                    Query(_alerts("critical"), _BY_HOST + " critical", limits=states.PAGES),
                    Query(_alerts("warning"), _BY_HOST + " warning", limits=states.ALERT_COUNT),
                    states=states.ALERTS,
                ),
            ),
            Placed(
                2,
                "Exporter",
                "Whether the last scrape succeeded. If not, the other panels are out of date.",
                stats(Query(q.UP, _BY_HOST), states=states.UP),
            ),
        ),
    )


def _wrong_now() -> Row:
    columns = (
        Column("severity", "Severity", words=states.SEVERITY, width=100),
        Column("alertstate", "State", words=states.ALERT_STATE, width=100),
        Column("alertname", "Alert", url=RUNBOOK, link_title=RUNBOOK_TITLE, width=320),
        Column("Value", "Since", unit="dateTimeFromNow", width=140),
        Column("instance", "Host", width=200),
        Column("family", "Family", width=80),
        Column("backend", "Backend"),
        Column("table", "Table"),
        Column("chain", "Chain"),
        Column("interface", "Interface"),
        Column("netns", "Namespace"),
        Column("action", "Action"),
        Column("capability", "Capability"),
        Column("name", "Name"),
    )
    return Row(
        7,
        (
            Placed(
                24,
                "What is wrong now",
                "Alerts of this host, the worst first. Pending alerts have not lasted long enough"
                " to fire. The name links to the runbook.",
                table(
                    Query(q.WRONG_NOW),
                    columns=columns,
                    sort={"order": False},
                    hidden=("order", "job"),
                    no_value="No alert is pending or firing",
                ),
            ),
        ),
    )


def _since_when() -> Row:
    bands = timeline(
        Query(q.VERDICT, "{{instance}} NAT {{family}}", states.VERDICT),
        Query(q.TRACKING_STATE, "{{instance}} tracking {{family}}", states.SWITCH),
        Query(q.FORWARDING_STATE, "{{instance}} forwarding {{family}}", states.SWITCH),
        Query(q.UP, "{{instance}} exporter", states.UP),
    )
    return Row(
        9,
        (
            Placed(
                24,
                "Since when",
                "The states of the first row over time. In gaps the state is unknown.",
                bands,
            ),
        ),
    )


def _annotations() -> tuple[Annotation, ...]:
    return (
        Annotation(
            "Alerts",
            q.alerts(q.FIRING),
            "{{alertname}}",
            "{{instance}} {{family}}: {{severity}}",
            "severity",
            states.RED,
        ),
        Annotation(
            "Firewall reloads",
            f"{q.RELOADS} > 0",
            "Firewall reload",
            "The nftables ruleset of {{instance}} has changed.",
            "",
            states.BLUE,
        ),
    )


def host() -> str:
    """Return the dashboard of one host, or of a few."""
    about = About(
        HOST_UID,
        "Netfilter: host",
        "Is NAT working on this host, and if not, why? From netfilter_exporter and the alert rules"
        " that ship with it.",
        all_hosts=False,
    )
    first = (_summary(), _wrong_now(), _since_when())
    return build(about, (*first, *findings(), *details()), _annotations())
