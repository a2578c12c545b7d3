"""The fleet: which hosts are not healthy.

No query draws a series for each rule or module, nor a line for each host: tables have one row a
host, bars the worst ten, and lines are sums over all.
"""

from __future__ import annotations

from netfilter_dashboards import queries as q
from netfilter_dashboards import states
from netfilter_dashboards.board import (
    FLEET_UID,
    HOST_TITLE,
    HOST_URL,
    RUNBOOK,
    RUNBOOK_TITLE,
    About,
    Annotation,
    Placed,
    Row,
    build,
)
from netfilter_dashboards.panels import Column, Query, bars, colored, graph, stats, table


def hosts_with(condition: str, known: str = q.KNOWN) -> str:
    """Return how many hosts it holds for: 0 where it holds for none of the hosts in `known`."""
    return f"count({condition}) or 0 * count({known})"


def _all_alerts(severity: str) -> str:
    firing = q.alerts(q.FIRING, f'severity="{severity}"')
    return (
        f"count({firing})"
        f" or 0 * count({q.series('job_instance:netfilter_exporter_build_info:max')}"
        f" and {q.SCRAPED})"
        f" or -1 * (count({q.SCRAPED}) ^ 0)"
    )


def _summary() -> Row:
    bad = states.BAD_HOSTS
    warning = states.Limits(warning=1)
    off = f"min by ({q.HOST}) ({q.FLEET.tracking} and {q.FLEET.role}) == 0"
    idle = f"({q.FORWARDING_OF_HOST}) == 0"
    fullest = Query(f"max({q.RECORDED_FILL})")
    return Row(
        4,
        (
            Placed(
                3,
                "Exporters",
                "Hosts whose exporter was scraped within the time shown, or within a week.",
                stats(Query(f"count({q.KNOWN})")),
            ),
            Placed(
                3,
                "Not healthy",
                "Hosts that are broken, down, unknown or have a warning: the first rows of the"
                " table.",
                stats(Query(hosts_with(f"({q.HEALTH}) > 0")), limits=bad),
            ),
            Placed(
                3,
                "Not scraped",
                "Hosts whose exporter does not answer: the state of their NAT is unknown.",
                stats(Query(hosts_with(f"{q.UP} == 0")), limits=warning),
            ),
            Placed(
                3,
                "Not tracked",
                "Hosts that do NAT and are proven not to track connections.",
                stats(Query(hosts_with(off, q.SCRAPED)), limits=bad),
            ),
            Placed(
                3,
                "Not forwarding",
                "Hosts that have NAT rules for forwarded traffic, but do not forward.",
                stats(Query(hosts_with(idle, q.SCRAPED)), limits=bad),
            ),
            Placed(
                3,
                "Fullest table",
                "The fullest connection tracking table, as a share of its limit.",
                stats(fullest, unit="percentunit", limits=states.FILL, decimals=0),
            ),
            Placed(
                3,
                "Critical alerts",
                "Critical alerts of this project that fire.",
                stats(Query(_all_alerts("critical")), states=states.ALERTS, limits=bad),
            ),
            Placed(
                3,
                "Warnings",
                "Warnings of this project that fire.",
                stats(Query(_all_alerts("warning")), states=states.ALERTS, limits=warning),
            ),
        ),
    )


def _hosts() -> Placed:
    asked = (
        q.HEALTH,
        q.verdict_of_host('family="ipv4"'),
        q.verdict_of_host('family="ipv6"'),
        q.TRACKING_OF_HOST,
        q.by(q.HOST, "sum", q.FLEET.rules),
        q.FORWARDING_OF_HOST,
        q.RECORDED_FILL,
        q.RECORDED_DROPS_NOW,
        q.alerts_of_host('severity=~"critical|warning"'),
        q.UP,
        q.UNTRANSLATED_OF_HOST,
    )
    columns = (
        Column("instance", "Host", url=HOST_URL, link_title=HOST_TITLE, width=220),
        Column("Value #A", "State", states.HEALTH, width=100),
        Column("Value #B", "NAT IPv4", states.VERDICT),
        Column("Value #C", "NAT IPv6", states.VERDICT),
        Column("Value #D", "Tracking", states.SWITCH),
        Column("Value #E", "NAT rules", width=90),
        Column("Value #F", "Forwarding", states.SWITCH),
        Column(
            "Value #G", "Table fill", unit="percentunit", limits=states.FILL, width=90, decimals=1
        ),
        Column("Value #H", "Drops, 5 min", unit="short", limits=states.DROPS_5M, width=110),
        Column("Value #I", "Alerts", states.ALERTS, limits=states.ALERT_COUNT, width=110),
        Column("Value #J", "Exporter", states.UP, width=90),
        Column("Value #K", "Untranslated", unit="suffix:/s", width=120),
        Column("job", "Job"),
    )
    return Placed(
        24,
        "Hosts",
        "One row per host, the worst first. The host links to its dashboard. Unknown: the rules"
        " or the tracking could not be read. OK: NAT rules exist, connections are proven to be"
        " tracked, the table has room, and forwarding works where it must.",
        table(
            *(Query(expr) for expr in asked),
            columns=columns,
            sort={"Value #A": True},
            no_value="No exporter was seen",
        ),
    )


def _alerts() -> Placed:
    inner = q.by(f"{q.HOST}, alertname, severity", "count", q.alerts(q.FIRING))
    columns = (
        Column("alertname", "Alert", url=RUNBOOK, link_title=RUNBOOK_TITLE),
        Column("severity", "Severity", words=states.SEVERITY, width=100),
        Column("Value", "Hosts", width=80),
    )
    return Placed(
        8,
        "Firing alerts",
        "Firing alerts of this project with their number of hosts, the worst first. The name"
        " links to the runbook.",
        table(
            Query(q.by_severity(f"count by (alertname, severity) ({inner})")),
            columns=columns,
            sort={"order": False},
            hidden=("order",),
            no_value="No alert is firing",
        ),
    )


def _worst() -> tuple[Placed, Placed]:
    legend = "{{instance}}"
    return (
        Placed(
            8,
            "Fullest tables",
            "The ten hosts with the fullest connection tracking tables.",
            bars(
                Query(f"topk(10, {q.RECORDED_FILL})", legend),
                unit="percentunit",
                limits=states.FILL,
                top=1,
                decimals=1,
            ),
        ),
        Placed(
            8,
            "Most drops in 5 minutes",
            "The ten hosts that dropped most packets because the table had no room.",
            bars(
                Query(f"topk(10, {q.RECORDED_DROPS_NOW})", legend),
                unit="short",
                limits=states.DROPS_5M,
            ),
        ),
    )


def _history() -> Row:
    firing = {
        severity: q.by(q.HOST, "count", q.alerts(q.FIRING, f'severity="{severity}"'))
        for severity in ("critical", "warning")
    }
    troubled = graph(
        Query(hosts_with(firing["critical"]), "with a critical alert"),
        Query(hosts_with(f"{firing['warning']} unless {firing['critical']}"), "with a warning"),
        Query(hosts_with(f"{q.UP} == 0"), "not scraped"),
        unit="none",
    )
    for letter, color in zip("ABC", (states.RED, states.ORANGE, states.PURPLE), strict=True):
        colored(troubled, letter, color)
    rules = graph(
        Query(f"sum by (family, action) ({q.metric('nat_rules')})", "{{family}} {{action}}"),
        unit="none",
    )
    return Row(
        8,
        (
            Placed(
                8,
                "Hosts in trouble",
                "Hosts with a firing alert, by the highest severity, and hosts that are not"
                " scraped.",
                troubled,
            ),
            Placed(
                8,
                "NAT rules",
                "NAT rules of all hosts, by family and action. A drop on many hosts at once"
                " suggests a bad rollout.",
                rules,
            ),
            Placed(
                8,
                "Firewall reloads",
                "Hosts whose nftables ruleset changed.",
                graph(Query(f"sum({q.RELOADS} > bool 0)", "hosts that changed"), unit="none"),
            ),
        ),
        "Over time",
    )


def _load() -> Row:
    counters = {
        "conntrack_drop_total": "dropped",
        "conntrack_early_drop_total": "evicted",
        "conntrack_insert_failed_total": "failed to insert",
        "conntrack_nat_collision_total": "NAT collisions",
        "conntrack_invalid_total": "invalid",
    }
    losses = (Query(f"sum({q.rate(name)})", text) for name, text in counters.items())
    fill = (
        Query(f"max({q.RECORDED_FILL})", "fullest"),
        Query(f"quantile(0.95, {q.RECORDED_FILL})", "95th percentile"),
        Query(f"quantile(0.5, {q.RECORDED_FILL})", "median"),
    )
    forwarded = q.rate("ip_forwarded_total", q.FAMILY)
    return Row(
        8,
        (
            Placed(
                8,
                "Table fill",
                "Entries as a share of the limit: the fullest host, the 95th percentile and the"
                " median. The lines are the thresholds of the alerts.",
                graph(*fill, unit="percentunit", limits=states.FILL, top=1),
            ),
            Placed(
                8,
                "Losses",
                "Packets and connections that connection tracking dropped, refused or evicted, on"
                " all hosts.",
                graph(*losses, unit="suffix:/s"),
            ),
            Placed(
                8,
                "Forwarded against transmitted",
                "Packets forwarded, and packets transmitted that the hosts did not create"
                " themselves. Only kernels since 6.7 count transmitted packets.",
                graph(
                    Query(f"sum by (family) ({forwarded})", "{{family}} forwarded"),
                    Query(f"sum by (family) ({q.SENT_ON})", "{{family}} transmitted"),
                    unit="suffix:/s",
                ),
            ),
        ),
    )


def _exporters() -> Row:
    statuses = f"count by (status) ({q.metric('scrape_collector_status')} == 1)"
    sources = f"count by (source, status) ({q.metric('source_status')} == 1)"
    versions = f"count by (version) ({q.metric('exporter_build_info')})"
    kernels = f"topk(20, count by (release, modules) ({q.metric('kernel_info')}))"
    return Row(
        8,
        (
            Placed(
                8,
                "Collectors by status",
                "Collectors of all hosts by status. With denied, timeout or error, alerts cannot"
                " fire.",
                graph(Query(statuses, "{{status}}"), unit="none", stacked=True),
            ),
            Placed(
                6,
                "Sources",
                "Number of hosts by source and status.",
                table(
                    Query(sources),
                    columns=(
                        Column("source", "Source"),
                        Column("status", "Status", words=_STATUS_WORDS),
                        Column("Value", "Hosts", width=80),
                    ),
                    sort={"source": False},
                ),
            ),
            Placed(
                5,
                "Kernels",
                "The twenty most common kernels, and whether they can load modules.",
                table(
                    Query(kernels),
                    columns=(
                        Column("release", "Kernel"),
                        Column("modules", "Modules"),
                        Column("Value", "Hosts", width=80),
                    ),
                    sort={"Value": True},
                ),
            ),
            Placed(
                5,
                "Versions",
                "Versions of the exporter.",
                table(
                    Query(versions),
                    columns=(Column("version", "Version"), Column("Value", "Hosts", width=80)),
                    sort={"Value": True},
                ),
            ),
        ),
        "Exporters and kernels",
    )


_STATUS_WORDS = {state.text.lower(): state.color for state in states.STATUS.values()}


def fleet() -> str:
    """Return the dashboard of all hosts."""
    critical = q.alerts(q.FIRING, 'severity="critical"')
    annotations = (
        Annotation(
            "Critical alerts",
            f"count by (alertname) ({critical})",
            "{{alertname}}",
            "fires on a host; its runbook says what to do",
            "alertname",
            states.RED,
        ),
    )
    about = About(
        FLEET_UID,
        "Netfilter: fleet",
        "Which hosts are not healthy, from netfilter_exporter and the alert rules that ship with"
        " it.",
        all_hosts=True,
    )
    return build(
        about,
        (
            _summary(),
            Row(12, (_hosts(),)),
            Row(9, (_alerts(), *_worst())),
            _history(),
            _load(),
            _exporters(),
        ),
        annotations,
    )
