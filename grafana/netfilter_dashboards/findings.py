"""What the alerts look at and no other panel of the host shows: findings, and what they rest on."""

from __future__ import annotations

from netfilter_dashboards import queries as q
from netfilter_dashboards import states
from netfilter_dashboards.board import Placed, Row
from netfilter_dashboards.panels import Query, graph, timeline

_HASH = states.Limits(warning=8)
_SERVED = q.by(q.HOST, "max", q.metric("exporter_build_info"))


def _by_family(name: str, text: str) -> Query:
    """Return whether a metric of the rules is above 0, of the families that were read."""
    readable = q.by(q.FAMILY, "max", q.metric("nat_readable"))
    found = f"{q.by(q.FAMILY, 'sum', q.metric(name))} > bool 0"
    return Query(f"{found} or {readable} * 0", "{{instance}} {{family}} " + text)


def _if_any(name: str, text: str) -> Query:
    """Return whether a metric of the host is above 0."""
    found = f"{q.by(q.HOST, 'max', q.metric(name))} > bool 0"
    return Query(f"{found} or {_SERVED} * 0", "{{instance}} " + text)


def _if_lacking(name: str, text: str, *matchers: str) -> Query:
    """Return whether a metric of the host is 0 anywhere."""
    found = f"{q.by(q.HOST, 'min', q.metric(name, *matchers))} == bool 0"
    return Query(f"{found} or {_SERVED} * 0", "{{instance}} " + text)


def _of_rules() -> Placed:
    return Placed(
        12,
        "Rules and their interfaces",
        "Faults that the exporter found in the rules. Each is the condition of an alert, or a"
        " part of it. `netfilter_exporter check` names the rule, interface or address.",
        timeline(
            _by_family("nat_unmatchable_rules", "rules that no packet can match"),
            _by_family("nat_hidden_exemptions", "exemptions behind a translation"),
            _by_family("nat_backends_overlap", "the same packets in both backends"),
            _by_family("nat_missing_address", "rules with an address that no host has"),
            _by_family("nat_uncovered_egress", "a way out without a rule"),
            _by_family("nat_split_zone", "a conntrack zone at one end only"),
            _by_family("forward_blocked", "a served interface is not forwarded"),
            _by_family("nat_bypassing_bridges", "bridges that bypass the rules"),
            states=states.FINDING,
        ),
    )


def _of_host() -> Placed:
    return Placed(
        12,
        "Kernel, configuration and exporter",
        "The same for the host. Expected: objects that the configuration expects.",
        timeline(
            _if_lacking("expected_present", "lacks what is expected"),
            _if_any("capability_blocked", "a module is blocked"),
            _if_any("kernel_modules_locked", "modules are locked"),
            _if_any("kernel_module_forced_unload", "a module was removed by force"),
            _if_lacking("kernel_modules_directory_present", "has no directory of modules"),
            _if_lacking("conntrack_netlink_available", "has no ctnetlink"),
            _if_any("router_advertisements_ignored", "ignores router advertisements"),
            _if_any("nat_unassigned_helper", "has a helper that no rule assigns"),
            _if_any("reverse_path_strict_interfaces", "has a strict rp_filter"),
            _if_lacking("config_last_reload_successful", "could not reload its configuration"),
            _if_lacking("exporter_host_network_namespace", "is watched in another namespace"),
            _if_lacking("scrape_collector_success", "has a collector that fails"),
            states=states.FINDING,
        ),
    )


def _findings() -> Row:
    return Row(14, (_of_rules(), _of_host()), "Findings")


def _grounds() -> Row:
    table = f"{q.HOST}, family, backend, table"
    births = q.metric("flow_births_sampled_total", over="[$__rate_interval]")
    buckets = q.by(q.HOST, "max", q.metric("conntrack_buckets"))
    family = "{{instance}} {{family}} "
    return Row(
        8,
        (
            Placed(
                6,
                "Translating rules by table",
                "An alert fires if a table loses its rules while others keep theirs. Duplicates"
                " repeat an earlier rule.",
                graph(
                    Query(
                        q.by(table, "sum", q.metric("nat_table_translating_rules")),
                        family + "{{table}}",
                    ),
                    Query(
                        q.by(table, "sum", q.metric("nat_duplicate_rules")),
                        family + "{{table}} duplicates",
                    ),
                    Query(
                        q.by(q.FAMILY, "sum", q.metric("nat_matchable_source_rules")),
                        family + "of sources, that can match",
                    ),
                    unit="none",
                ),
            ),
            Placed(
                6,
                "Sampled new connections",
                "The basis of the estimates: new connections in samples of the flow table, and"
                " their distinct sources.",
                graph(
                    Query(q.by(q.FAMILY, "sum", f"rate({births})"), family + "sampled per second"),
                    Query(
                        q.by(q.FAMILY, "sum", q.metric("flow_birth_sources")), family + "sources"
                    ),
                    unit="short",
                ),
            ),
            Placed(
                6,
                "Limit per bucket",
                "Entries that the limit allows for each bucket of the hash table.",
                graph(Query(f"{q.LIMIT} / {buckets}", "{{instance}}"), unit="short", limits=_HASH),
            ),
            _others(),
        ),
    )


#: With it $__rate_interval is two minutes at least: counters are read every 15 to 45 s, so that a
#: minute has one or two readings.
_HITS = "30s"


def _hits() -> Row:
    action = f"{q.FAMILY}, backend, action"
    return Row(
        8,
        (
            Placed(
                8,
                "Translations per second",
                "Packets that matched a NAT rule with a counter, by action, usually one for each"
                " new connection. Counters are read every 15 to 45 seconds.",
                graph(
                    Query(
                        q.rate("nat_translations_total", action),
                        "{{instance}} {{family}} {{backend}} {{action}}",
                        interval=_HITS,
                    ),
                    unit="short",
                ),
            ),
            Placed(
                8,
                "Translations per second by rule",
                "The same of the rules that the configuration expects by name.",
                graph(
                    Query(
                        q.rate("nat_rule_translations_total", f"{q.HOST}, name"),
                        "{{instance}} {{name}}",
                        interval=_HITS,
                    ),
                    unit="short",
                ),
            ),
            Placed(
                8,
                "Ports in use",
                "Ports of a translated address in use towards its most used destination, of those"
                " that the rule allows. At 100 % the kernel drops new connections.",
                graph(
                    Query(
                        q.by(
                            f"{q.FAMILY}, protocol, address",
                            "max",
                            q.metric("snat_ports_used_ratio"),
                        ),
                        "{{instance}} {{protocol}} {{address}}",
                    ),
                    unit="percentunit",
                    top=1,
                ),
            ),
        ),
    )


def _others() -> Placed:
    engine = q.by(f"{q.HOST}, engine", "max", q.metric("nat_other_engine"))
    text_file = q.by(q.HOST, "max", q.metric("textfile_timestamp_seconds"))
    return Placed(
        6,
        "Other engines",
        "Other engines that translate, whether bridges pass their packets to the rules, sysctls"
        " that exist, and the age of a text file.",
        timeline(
            Query(engine, "{{instance}} {{engine}}", states.PRESENT),
            Query(
                f"{q.by(q.FAMILY, 'max', q.metric('nat_ipvs'))}"
                f" or {q.by(q.FAMILY, 'max', q.metric('nat_readable'))} * 0",
                "{{instance}} {{family}} IPVS",
                states.PRESENT,
            ),
            Query(
                f"{q.by(q.FAMILY, 'max', q.metric('nat_stateless'))}"
                f" or {q.by(q.FAMILY, 'max', q.metric('nat_readable'))} * 0",
                "{{instance}} {{family}} stateless NAT",
                states.PRESENT,
            ),
            Query(
                f"{q.by(q.FAMILY, 'max', q.metric('bridge_netfilter'))}"
                f" or {q.by(q.FAMILY, 'max', q.metric('nat_readable'))} * 0",
                "{{instance}} {{family}} rules see bridges",
                states.PRESENT,
            ),
            Query(
                f"{q.by(q.HOST, 'max', q.metric('sysctl_present'))}",
                "{{instance}} known sysctls",
                states.PRESENT,
            ),
            Query(
                q.by(q.HOST, "max", q.metric("exporter_host_info")),
                "{{instance}} machine is known",
                states.PRESENT,
            ),
            Query(
                f"time() - {text_file} < bool 300 or {_SERVED} * 0",
                "{{instance}} page by text file",
                states.PRESENT,
            ),
        ),
    )


def findings() -> tuple[Row, ...]:
    """Return the rows."""
    return (_findings(), _grounds(), _hits())
