"""The lower part of the host's dashboard: why NAT does not work, in numbers."""

from __future__ import annotations

from netfilter_dashboards import queries as q
from netfilter_dashboards import states
from netfilter_dashboards.board import Placed, Row
from netfilter_dashboards.panels import Column, Query, dashed, graph, table, timeline

_SWITCHES = (
    r"net\\.ipv4\\.ip_forward|net\\.ipv6\\.conf\\.all\\.forwarding"
    r"|net\\.bridge\\.bridge-nf-call-ip6?tables|net\\.ipv4\\.vs\\.conntrack"
    r"|net\\.netfilter\\.nf_conntrack_(enable|tcp_loose|tcp_be_liberal|helper)"
)


def _zero(expression: str) -> str:
    """Return it, and 0 for the families of which the ruleset was read and which it leaves out."""
    return f"{expression} or {q.by(q.FAMILY, 'max', q.metric('nat_readable'))} * 0"


def _kernel() -> Row:
    module = f"{q.HOST}, module"
    capability = f"{q.HOST}, capability"
    has = q.by(capability, "max", q.metric("capability"))
    needed = q.by(capability, "max", q.metric("capability_needed"))
    state = f"{has} + 2 * {needed} or ({needed} == 1) * 0 + 4 or {has}"
    modules = q.encoded("module_info", "state", states.lowercase_numbers(states.MODULE), module)
    switches = q.by(f"{q.HOST}, name", "max", q.metric("sysctl", f'name=~"{_SWITCHES}"'))
    mismatch = q.by(f"{q.HOST}, name, source", "max", q.metric("sysctl_mismatch"))
    return Row(
        16,
        (
            Placed(
                7,
                "Modules",
                "The state of each module. Merged: an old name, whose code is in another module."
                " Absent is healthy if nothing requires the module: see the capabilities.",
                timeline(Query(modules, "{{instance}} {{module}}"), states=states.MODULE),
            ),
            Placed(
                7,
                "Capabilities",
                "Capabilities that the kernel has now, or can load on demand, and whether a rule"
                " or the role of this host requires them.",
                timeline(Query(state, "{{instance}} {{capability}}"), states=states.CAPABILITY),
            ),
            Placed(
                10,
                "Sysctls",
                "Sysctls of forwarding and tracking, and whether they have the value that"
                " sysctl.d or the configuration sets.",
                timeline(
                    Query(switches, "{{instance}} {{name}}", states.SETTING),
                    Query(mismatch, "{{instance}} {{name}} ({{source}})", states.MISMATCH),
                ),
            ),
        ),
        "Kernel",
    )


def _rules() -> Row:
    action = f"{q.HOST}, family, backend, action"
    hook = f"{q.HOST}, family, backend, hook"
    used = f"max_over_time({q.metric('nat_rules', over=q.WHOLE)})"
    actions = f"{q.by(action, 'sum', q.metric('nat_rules'))} and {q.by(action, 'sum', used)} > 0"
    sums = {
        "unreachable": q.by(q.FAMILY, "sum", q.metric("nat_unreachable_rules")),
        "dormant": q.by(q.FAMILY, "sum", q.metric("nat_dormant_rules")),
        "of a missing interface": q.by(q.FAMILY, "sum", q.metric("nat_missing_interface")),
        "notrack": q.by(q.FAMILY, "sum", q.metric("notrack_rules")),
    }
    broken = (Query(_zero(e), "{{instance}} {{family}} " + text) for text, e in sums.items())
    return Row(
        9,
        (
            Placed(
                8,
                "NAT rules by action",
                "NAT rules by backend and action, without actions that were never used; and how"
                " many have a counter that is read.",
                graph(
                    Query(actions, "{{instance}} {{family}} {{backend}} {{action}}"),
                    Query(
                        q.by(q.FAMILY, "sum", q.metric("nat_counted_rules")),
                        "{{instance}} {{family}} counters read",
                    ),
                    unit="none",
                ),
            ),
            Placed(
                8,
                "NAT rules by hook",
                "Rules of any kind in the NAT base chains, as listed.",
                graph(
                    Query(
                        q.by(hook, "sum", q.metric("nat_chain_rules")),
                        "{{instance}} {{family}} {{backend}} {{hook}}",
                    ),
                    unit="none",
                ),
            ),
            Placed(
                8,
                "Rules without effect",
                "Rules that no packet reaches, in a dormant table, or for an interface that does"
                " not exist; and rules that exempt packets from tracking, and so from NAT.",
                graph(*broken, unit="none", limits=states.BROKEN_RULES),
            ),
        ),
        "NAT rules; changes of the ruleset are marked",
    )


def _table() -> Row:
    limit = q.by(q.HOST, "max", q.metric("conntrack_entries_limit"))
    name = "{{instance}} "
    entries = graph(
        Query(q.ENTRIES, name + "entries"),
        Query(f"{limit} > 0", name + "limit"),
        Query(f"{q.PREDICTED_FILL} * {q.LIMIT}", name + "in 4 hours"),
        unit="short",
    )
    fill = graph(
        Query(q.FILL, name + "now"),
        Query(q.PREDICTED_FILL, name + "in 4 hours"),
        unit="percentunit",
        limits=states.FILL,
        top=1,
    )
    return Row(
        8,
        (
            Placed(
                12,
                "Entries against limit",
                "Entries of the connection tracking table, the limit, and the forecast for four"
                " hours from the last hour's trend (drawn up to 1.5 times the limit).",
                dashed(dashed(entries, "B", states.RED), "C", states.ORANGE),
            ),
            Placed(
                12,
                "Fill over time",
                "Entries as a share of the limit. The lines are the thresholds of the alerts.",
                dashed(fill, "B", states.ORANGE),
            ),
        ),
        "Connection tracking table",
    )


def _losses() -> Row:
    ports = (
        Query(q.rate("conntrack_insert_failed_total"), "{{instance}} failed inserts"),
        Query(q.rate("conntrack_nat_collision_total"), "{{instance}} NAT collisions"),
    )
    evicted = Query(q.increase("conntrack_early_drop_total", "10m"), "{{instance}}")
    invalid = Query(q.rate("conntrack_invalid_total"), "{{instance}}")
    return Row(
        8,
        (
            Placed(
                6,
                "Drops within 5 minutes",
                "Packets dropped because the table had no room, without insert races.",
                graph(Query(q.DROPS, "{{instance}}"), unit="short", limits=states.DROPS_5M),
            ),
            Placed(
                6,
                "Early drops within 10 minutes",
                "Connections evicted from a full table to make room.",
                graph(evicted, unit="short", limits=states.EVICTED_10M),
            ),
            Placed(
                6,
                "Insert failures and NAT collisions",
                "If both rise, NAT runs out of ports. The lines are the thresholds of the warning"
                " and of the page. Failures without collisions are races.",
                graph(*ports, unit="suffix:/s", limits=states.PORTS),
            ),
            Placed(
                6,
                "Invalid packets",
                "Packets that belong to no tracked connection. They bypass NAT.",
                graph(invalid, unit="suffix:/s", limits=states.INVALID),
            ),
        ),
    )


def _traffic() -> Row:
    forwarded = Query(q.rate("ip_forwarded_total", q.FAMILY), "{{instance}} {{family}} forwarded")
    refused = (
        Query(
            q.increase("ip_in_address_errors_total", "10m", q.FAMILY),
            "{{instance}} {{family}} for another host",
        ),
        Query(
            q.increase("ip_reverse_path_filtered_total", "10m", q.FAMILY),
            "{{instance}} {{family}} rp_filter",
        ),
    )
    return Row(
        8,
        (
            Placed(
                8,
                "Forwarded against transmitted",
                "Packets forwarded, and packets transmitted that this host did not create itself."
                " Only kernels since 6.7 count transmitted packets.",
                graph(
                    forwarded,
                    Query(q.SENT_ON, "{{instance}} {{family}} transmitted"),
                    unit="suffix:/s",
                ),
            ),
            Placed(
                8,
                "Forwarded and not transmitted",
                "The share of forwarded packets that are not transmitted: dropped after routing.",
                graph(
                    Query(q.LOST_RATIO, "{{instance}} {{family}}"),
                    unit="percentunit",
                    limits=states.TRAFFIC_DROPPED,
                    top=1,
                ),
            ),
            Placed(
                8,
                "Refused within 10 minutes",
                "Incoming packets that were not forwarded: for another host while forwarding is"
                " disabled, or dropped by the reverse path filter.",
                graph(*refused, unit="short", limits=states.ADDRESS_ERRORS_10M),
            ),
        ),
        "Traffic",
    )


def _flows() -> Row:
    states_of = f"{q.HOST}, family, protocol, state"
    return Row(
        8,
        (
            Placed(
                8,
                "New connections by translation",
                "New outbound connections per second, estimated from samples of the flow table:"
                " from private networks behind the host to global addresses.",
                graph(
                    Query(
                        q.new_flows(labels=f"{q.FAMILY}, translated"),
                        "{{instance}} {{family}} {{translated}}",
                    ),
                    unit="suffix:/s",
                    stacked=True,
                ),
            ),
            Placed(
                8,
                "New connections by reply",
                "New outbound connections by reply. Unknown: the connection ended early, or its"
                " protocol requires no reply.",
                graph(
                    Query(
                        q.new_flows(labels=f"{q.FAMILY}, replied"),
                        "{{instance}} {{family}} replied: {{replied}}",
                    ),
                    unit="suffix:/s",
                    stacked=True,
                ),
            ),
            Placed(
                8,
                "Flows by state",
                "Flows in the table by protocol and state, estimated from the last sample.",
                graph(
                    Query(
                        q.by(states_of, "sum", q.metric("flows")),
                        "{{instance}} {{family}} {{protocol}} {{state}}",
                    ),
                    unit="short",
                    stacked=True,
                ),
            ),
        ),
        "New connections",
    )


def _namespaces() -> Row:
    legend = "{{instance}} {{netns}}"
    return Row(
        8,
        (
            Placed(
                6,
                "Table fill of other namespaces",
                "Entries of other network namespaces as a share of the limit, the ten fullest."
                " Requires --collector.namespaces. The lines are the thresholds of the alerts.",
                graph(
                    Query(f"topk(10, {q.NETNS_FILL})", legend),
                    unit="percentunit",
                    limits=states.FILL,
                    top=1,
                ),
            ),
            Placed(
                6,
                "Drops in other namespaces within 5 minutes",
                "Packets dropped in other network namespaces because the table had no room,"
                " without insert races, the ten with the most.",
                graph(
                    Query(f"topk(10, {q.NETNS_DROPS})", legend),
                    unit="short",
                    limits=states.DROPS_5M,
                ),
            ),
            Placed(
                6,
                "NAT rules of other namespaces",
                "Translating rules in other network namespaces that had any within the last day,"
                " the ten with the fewest. Requires --netns.helper-socket.",
                graph(
                    Query(f"bottomk(10, {q.NETNS_RULES})", "{{instance}} {{netns}} {{family}}"),
                    unit="short",
                ),
            ),
            Placed(
                6,
                "Number of other namespaces",
                "Other network namespaces that the exporter found, and how many of them forward."
                " The latter requires --netns.helper-socket.",
                graph(
                    Query(q.NETNS_COUNT, "{{instance}}"),
                    Query(q.NETNS_FORWARDING, "{{instance}} forwarding {{family}}"),
                    unit="short",
                ),
            ),
        ),
        "Other network namespaces",
    )


def _configuration() -> Row:
    wanted = f"{q.HOST}, name, source"
    interface = f"{q.HOST}, family, interface"
    value = q.by(f"{q.HOST}, name", "max", q.metric("sysctl"))
    asked = q.by(wanted, "max", q.metric("sysctl_wanted"))
    return Row(
        8,
        (
            Placed(
                14,
                "Desired sysctls",
                "Values that sysctl.d and the configuration set, and the current ones. Without a"
                " comparison, the kernel does not have the name.",
                table(
                    Query(asked),
                    Query(f"{asked} * 0 + on ({q.HOST}, name) group_left () {value}"),
                    Query(q.by(wanted, "max", q.metric("sysctl_mismatch"))),
                    columns=(
                        Column("name", "Name", width=380),
                        Column("source", "Asked by"),
                        Column("Value #A", "Wanted"),
                        Column("Value #B", "Holds"),
                        Column("Value #C", "Verdict", states.MISMATCH),
                        Column("instance", "Host"),
                    ),
                    sort={"Value #C": True},
                    hidden=("job",),
                    no_value="No value is set",
                ),
            ),
            Placed(
                10,
                "Interfaces",
                "Interfaces that a NAT rule names but that do not exist (1), or that do not"
                " forward (1).",
                table(
                    Query(q.by(interface, "max", q.metric("nat_missing_interface"))),
                    Query(
                        q.by(
                            f"{q.HOST}, interface",
                            "max",
                            q.metric("interface_forwarding_disabled"),
                        )
                    ),
                    columns=(
                        Column("interface", "Interface"),
                        Column("family", "Family"),
                        Column("Value #A", "Named and missing", {1: states.State("yes", "orange")}),
                        Column("Value #B", "Not forwarding", {1: states.State("yes", "orange")}),
                        Column("instance", "Host"),
                    ),
                    sort={"interface": False},
                    hidden=("job",),
                    no_value="None is missing, all forward",
                ),
            ),
        ),
        "Configuration",
    )


def _exporter() -> Row:
    numbers = states.lowercase_numbers(states.STATUS)
    collectors = q.encoded("scrape_collector_status", "status", numbers, f"{q.HOST}, collector")
    sources = q.encoded("source_status", "status", numbers, f"{q.HOST}, source")
    duration = q.by(f"{q.HOST}, collector", "max", q.metric("scrape_collector_duration_seconds"))
    return Row(
        9,
        (
            Placed(
                12,
                "Collectors and sources",
                "Status of collectors and of their sources. With denied, timeout or error, alerts"
                " cannot fire.",
                timeline(
                    Query(collectors, "{{instance}} collector {{collector}}"),
                    Query(sources, "{{instance}} source {{source}}"),
                    states=states.STATUS,
                ),
            ),
            Placed(
                12,
                "Time of the collectors",
                "Duration of each collector.",
                graph(Query(duration, "{{instance}} {{collector}}"), unit="s", stacked=True),
            ),
        ),
        "Exporter and collectors",
    )


def details() -> tuple[Row, ...]:
    """Return the rows below the first screen."""
    return (
        _kernel(),
        _rules(),
        _flows(),
        _table(),
        _losses(),
        _traffic(),
        _namespaces(),
        _configuration(),
        _exporter(),
    )
