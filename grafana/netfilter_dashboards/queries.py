"""What the dashboards ask Prometheus.

Every selector carries the variables of the dashboard. Operands are reduced to job, instance and
what they are about before they meet, so that a restarted exporter with other labels is one host.

Series whose names have colons are recorded by alerts/netfilter.rules.yml. On the dashboard of a
host they add what needs history; without them the other operands answer. The fleet reads what is
recorded wherever it can: of a thousand hosts, the same from raw series takes seconds.
"""

from __future__ import annotations

from netfilter_dashboards.states import DROPS_5M

HOST = "job, instance"
FAMILY = "job, instance, family"

#: All that the dashboard shows; counted from its end, it is read once and not at each step.
WHOLE = "[$__range] @ end()"


def series(name: str, *matchers: str, over: str = "") -> str:
    """Return a selector of the chosen hosts' series; `over` is a range such as [5m], or WHOLE."""
    inside = ", ".join((*matchers, 'job=~"$job"', 'instance=~"$instance"'))
    return f"{name}{{{inside}}}{over}"


def metric(name: str, *matchers: str, over: str = "") -> str:
    """Return a selector of a metric of the exporter; the name is without its prefix."""
    return series(f"netfilter_{name}", *matchers, over=over)


def by(labels: str, operator: str, expression: str) -> str:
    """Return an aggregation."""
    return f"{operator} by ({labels}) ({expression})"


def rate(name: str, labels: str = HOST) -> str:
    """Return the rate of a counter, summed."""
    return by(labels, "sum", f"rate({metric(name, over='[$__rate_interval]')})")


def increase(name: str, window: str, labels: str = HOST) -> str:
    """Return by how much a counter rose within a window that an alert fixes."""
    return by(labels, "sum", f"increase({metric(name, over=f'[{window}]')})")


def alerts(*matchers: str) -> str:
    """Return a selector of this project's alerts."""
    return series("ALERTS", 'alertname=~"Netfilter.+"', *matchers)


def by_severity(expression: str) -> str:
    """Return it with a label `order`: there is no other way to sort words by what they mean."""
    for number, severity in enumerate(("critical", "warning", "info"), 1):
        expression = f'label_replace({expression}, "order", "{number}", "severity", "{severity}")'
    return expression


FIRING = 'alertstate="firing"'

KNOWN = (
    f"max by ({HOST}) (last_over_time({metric('exporter_build_info', over=WHOLE)}))"
    f" or {series('job_instance:netfilter_exporter_build_info:max7d')}"
)
#: Whether each exporter could be scraped; those that never were are none.
UP = f"(max by ({HOST}) ({series('up')}) and ({KNOWN}))"
#: The hosts that are scraped: of others a range of minutes would still have a number, often 0.
SCRAPED = f"({UP} == 1)"
#: What is recorded of a host has a number for minutes after the last scrape: keep it of no other.
_ANSWERING = f"and on ({HOST}) max by ({HOST}) ({series('up')}) == 1"

#: A clash raises insert_failed and drop together: what is left found no place. A hash chain that is
#: too long raises insert_failed alone; old kernels do not count it.
_FAILED = increase("conntrack_insert_failed_total", "5m")
_LONG = increase("conntrack_chain_too_long_total", "5m")
_CLASHES = f"clamp_min({_FAILED} - {_LONG}, 0) or {_FAILED}"
DROPS = f"clamp_min({increase('conntrack_drop_total', '5m')} - ({_CLASHES}), 0)"
DROPS_NOW = f"{DROPS} and {SCRAPED}"
RECORDED_DROPS_NOW = (
    f"clamp_min({series('job_instance:netfilter_conntrack_unplaced:increase5m')}, 0) {_ANSWERING}"
)
_NO_CORE = f"{by(HOST, 'max', metric('conntrack_present'))} == 0"
#: Warnings that are about NAT: it may work for some and not for others.
_WARNED = by(
    HOST,
    "count",
    series(
        "ALERTS", 'alertname=~"Netfilter(Nat|Conntrack).+"', FIRING, 'severity=~"critical|warning"'
    ),
)
_DROPPING = f"{DROPS} > {DROPS_5M.critical}"


def new_flows(*matchers: str, labels: str = FAMILY) -> str:
    """Return new outbound connections per second, estimated; `matchers` choose some of them."""
    chosen = metric("flows_new_total", 'scope="outbound"', *matchers, over="[$__rate_interval]")
    return by(labels, "sum", f"rate({chosen})")


UNTRANSLATED_OF_HOST = new_flows('translated="none"', labels=HOST)


#: What is recorded of metrics, reduced in just this way.
RECORDED = {
    ("sum", "nat_rules"): "job_instance_family:netfilter_nat_rules:sum",
    ("max", "conntrack_tracking"): "job_instance_family:netfilter_conntrack_tracking:max",
    ("max", "forwarding_enabled"): "job_instance_family:netfilter_forwarding_enabled:max",
    ("max", "nat_forwarded_rules"): "job_instance_family:netfilter_nat_forwarded_rules:max",
    ("min", "nat_readable"): "job_instance_family:netfilter_nat_readable:min",
}


class Families:
    """What is asked by family, or with a matcher of one; `recorded`: of what the rules record."""

    def __init__(self, *matchers: str, recorded: bool = False) -> None:
        def ask(operator: str, name: str, *more: str) -> str:
            if recorded and (operator, name) in RECORDED:
                return f"({series(RECORDED[operator, name], *matchers, *more)} {_ANSWERING})"
            return by(FAMILY, operator, metric(name, *matchers, *more))

        self.rules = ask("sum", "nat_rules")
        self.tracking = ask("max", "conntrack_tracking")
        self.forwarding = ask("max", "forwarding_enabled")
        self._forwarding_ipv4 = ask("max", "forwarding_enabled", 'family="ipv4"')
        self._forwarded_rules = ask("max", "nat_forwarded_rules")
        self._expected = ask("max", "nat_expected")
        self._readable = ask("min", "nat_readable")
        ruleless = series("job_instance_family:netfilter_nat_ruleless:bool", *matchers)
        self._required = f"{self._expected} == 1 unless {ruleless}"
        self._role = series("job_instance_family:netfilter_nat_role:bool", *matchers)
        forwarded = "job_instance_family:netfilter_forwarding_enabled:max1d"
        self._forwarded = f"{series(forwarded, *matchers)} == 1"

    @property
    def role(self) -> str:
        """Families in which NAT is the host's job: by its rules, its past, or its configuration."""
        return (
            f"({self.rules} > 0 or {self._required} or {self._role} unless {self._expected} == 0)"
        )

    @property
    def must_forward(self) -> str:
        """Families that must forward for their rules to have a use.

        An inet table has IPv6 rules on hosts that never forward IPv6: there it must be on, or
        have been within the last day.
        """
        return (
            f"{self._forwarded_rules} > 0"
            f" and ({self._forwarding_ipv4} or {self.forwarding} == 1"
            f" or {self._forwarded} or {self._expected} == 1)"
        )

    @property
    def verdict(self) -> str:
        """Does NAT work? See states.VERDICT. The first operand that holds decides.

        The rules are read once: they are most of the series of a host.
        """
        off = (
            f"({self.tracking} == 0) * 0 + 7"
            f" or ({self._readable} and on ({HOST}) {_NO_CORE}) * 0 + 7"
        )
        with_rules = (
            f"{off}"
            f" or ({self.forwarding} == 0 and {self.must_forward}) * 0 + 6"
            f" or ({self.forwarding} == 0 and {self._forwarded_rules} > 0) * 0"
            f" or ({self._readable} and on ({HOST}) {_DROPPING}) * 0 + 4"
            f" or ({self._readable} and on ({HOST}) {_WARNED}) * 0 + 3"
            f" or {self.tracking}"
            f" or {self._readable} * 0 + 2"
        )
        without = f"{off} or ({self._readable} == 1) * 0 + 5 or {self._readable} * 0 + 2"
        return (
            f"(({with_rules}) and {self.rules} > 0"
            f" or ({without}) and ({self._required} or {self._role})"
            f" unless {self._expected} == 0)"
            f" or {self._readable} - 1"
        )


ALL, FLEET = Families(), Families(recorded=True)
RULES, TRACKING, FORWARDING = ALL.rules, ALL.tracking, ALL.forwarding
ROLE, VERDICT = ALL.role, ALL.verdict

#: 0 and 1 where it is needed, 2 and 3 where nothing needs it: see states.SWITCH.
TRACKING_STATE = f"{TRACKING} and {ROLE} or {TRACKING} + 2"
FORWARDING_STATE = f"{FORWARDING} and ({ALL.must_forward}) or {FORWARDING} + 2"


def of_host(state: str, needed: str) -> str:
    """Return one 0 to 3 for a host: the worst of the families that need it, else the best."""
    return f"min by ({HOST}) ({state} and ({needed})) or max by ({HOST}) ({state}) + 2"


TRACKING_OF_HOST = of_host(FLEET.tracking, FLEET.role)
FORWARDING_OF_HOST = of_host(FLEET.forwarding, FLEET.must_forward)


def _firing(severity: str) -> str:
    return by(HOST, "count", alerts(FIRING, f'severity="{severity}"'))


#: The verdict as it is recorded: a test holds it against that of `Families`.
RECORDED_VERDICT = "job_instance_family:netfilter_nat_verdict:state"


def verdict_of_host(*matchers: str) -> str:
    """Return the recorded verdict; the worst of the families that are chosen."""
    return by(HOST, "max", f"{series(RECORDED_VERDICT, *matchers)} {_ANSWERING}")


#: 4 where a verdict is one of the bad ones, 2 where it is -1 or 2: not readable, unknown.
_VERDICT_THAT_COUNTS = by(HOST, "max", f"{series(RECORDED_VERDICT)} != 0 != 1 != 3 {_ANSWERING}")
_BROKEN_OR_UNKNOWN = f"floor(clamp({_VERDICT_THAT_COUNTS}, 2, 4) / 2) * 2"
#: The state of a host: see states.HEALTH. It is unknown where no rule is loaded.
HEALTH = (
    f"{_firing('critical')} * 0 + 4"
    f" or ({UP} == 0) * 0 + 3"
    f" or {_BROKEN_OR_UNKNOWN}"
    f" or {_firing('warning')} * 0 + 1"
    f" or {verdict_of_host()} * 0"
    f" or {by(HOST, 'max', metric('exporter_build_info'))} * 0 + 2"
)


def alerts_of_host(severity: str) -> str:
    """Return how many alerts of a severity fire on a host, and -1 where no rule is loaded.

    Of a host that is not scraped a 0 would say too much.
    """
    return (
        f"{by(HOST, 'count', alerts(FIRING, severity))}"
        f" or max by ({HOST}) ({series('job_instance:netfilter_exporter_build_info:max')}) * 0"
        f" and {SCRAPED}"
        f" or {by(HOST, 'max', metric('exporter_build_info'))} * 0 - 1"
    )


LIMIT = f"({by(HOST, 'max', metric('conntrack_entries_limit'))} > 0)"
ENTRIES = by(HOST, "max", metric("conntrack_entries"))
FILL = f"{ENTRIES} / {LIMIT}"
RECORDED_FILL = f"({series('job_instance:netfilter_conntrack_entries:ratio')} {_ANSWERING})"
#: Where the last hour leads to in four; as a share of the limit, of which half as much again is
#: shown at most: a table that has just begun to fill leads to the moon.
_PREDICTED = (
    f"max by ({HOST}) (predict_linear({metric('conntrack_entries', over='[1h]')}, 4 * 3600))"
)
PREDICTED_FILL = f"clamp({_PREDICTED} / {LIMIT}, 0, 1.5)"
#: Of other network namespaces, each against the one limit.
NETNS = f"{HOST}, netns"
NETNS_FILL = (
    f"{by(NETNS, 'max', metric('netns_conntrack_entries'))} / on ({HOST}) group_left () {LIMIT}"
)
NETNS_DROPS = (
    f"max by ({NETNS}) (increase({metric('netns_conntrack_drop_total', over='[5m]')}))"
    f" - max by ({NETNS}) (increase({metric('netns_conntrack_insert_failed_total', over='[5m]')}))"
)
#: Of namespaces that never had any there would be a line each at zero.
NETNS_RULES = (
    f"{by(f'{NETNS}, family', 'max', metric('netns_nat_rules'))}"
    f" and ({series('job_instance_netns_family:netfilter_netns_nat_rules:present_max1d')} == 1)"
)
NETNS_COUNT = by(HOST, "count", by(NETNS, "max", metric("netns_info")))
NETNS_FORWARDING = by(
    FAMILY, "sum", by(f"{NETNS}, family", "max", metric("netns_forwarding_enabled"))
)
#: What was forwarded and did not go out: local output goes out too and is taken off.
SENT_ON = (
    f"clamp_min({rate('ip_out_transmitted_total', FAMILY)}"
    f" - {rate('ip_out_requests_total', FAMILY)}, 0)"
)
LOST_RATIO = (
    f"clamp_min(({rate('ip_forwarded_total', FAMILY)} + {rate('ip_out_requests_total', FAMILY)}"
    f" - {rate('ip_out_transmitted_total', FAMILY)})"
    f" / ({rate('ip_forwarded_total', FAMILY)} > 1), 0)"
)

#: Since when each alert holds, in milliseconds.
_SINCE = series("ALERTS_FOR_STATE", 'alertname=~"Netfilter.+"')
WRONG_NOW = by_severity(f"1000 * ({alerts()} * ignoring (alertstate) group_left () {_SINCE})")

RELOADS = f"changes({metric('nftables_generation', over='[$__rate_interval]')})"


def encoded(name: str, label: str, values: dict[str, int], labels: str) -> str:
    """Return a metric whose state is a label as a metric whose state is the value."""
    selectors = ((metric(name, f'{label}="{state}"'), number) for state, number in values.items())
    return " or ".join(
        f"max by ({labels}) ({selector} == 1) * {number}" for selector, number in selectors
    )
