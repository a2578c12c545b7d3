"""Collector flows: a sample of the flow table, and what became of new connections."""

from __future__ import annotations

import ipaddress
import itertools
from collections import Counter
from collections.abc import Iterable

from netfilter_exporter.collectors.base import Collector, Metric, Sample, value
from netfilter_exporter.facts.flows import flow_sample
from netfilter_exporter.facts.snapshot import Snapshot
from netfilter_exporter.flows.births import Class, Replied
from netfilter_exporter.flows.ports import PortsInUse
from netfilter_exporter.flows.scope import Scope
from netfilter_exporter.kernel.conntrack.flow import PROTOCOLS, Translated
from netfilter_exporter.rules.families import Family

_SOURCE = "ctnetlink, or /proc/net/nf_conntrack"

#: Series of netfilter_flows, the largest ones.
_STATES_LIMIT = 24

#: What alerts compare: a 0 for each.
_ALWAYS = tuple(
    Class(family, Scope.OUTBOUND, translated, replied)
    for family, translated, replied in itertools.product(
        Family, (Translated.NONE, Translated.SOURCE), (Replied.YES, Replied.NO)
    )
)


def _labels(class_: Class) -> tuple[str, ...]:
    return tuple(part.value for part in class_)


def _new(snapshot: Snapshot) -> Iterable[Sample]:
    births = {**dict.fromkeys(_ALWAYS, 0.0), **flow_sample(snapshot).births}
    return ((_labels(class_), number) for class_, number in births.items())


def _sources(snapshot: Snapshot) -> Iterable[Sample]:
    sources = {**dict.fromkeys(_ALWAYS, 0), **flow_sample(snapshot).sources}
    return ((_labels(class_), number) for class_, number in sources.items())


def _sampled(snapshot: Snapshot) -> Iterable[Sample]:
    sampled = flow_sample(snapshot).sampled
    for family, scope in itertools.product(Family, Scope):
        yield (family.value, scope.value), sampled.get((family, scope), 0)


def _flows(snapshot: Snapshot) -> Iterable[Sample]:
    states: Counter[tuple[str, ...]] = Counter()
    for kind, number in flow_sample(snapshot).flows.items():
        states[kind.family.value, kind.protocol, kind.state] += round(number)
    return states.most_common(_STATES_LIMIT)


def _offloaded(snapshot: Snapshot) -> Iterable[Sample]:
    flows = flow_sample(snapshot).flows
    for family in Family:
        numbers = (n for kind, n in flows.items() if kind.family is family and kind.offloaded)
        yield (family.value,), round(sum(numbers))


def _ports_ratio(snapshot: Snapshot) -> Iterable[Sample]:
    for each in flow_sample(snapshot).ports:
        yield _of_address(each), round(each.used / each.size, 4)


def _ports_range(snapshot: Snapshot) -> Iterable[Sample]:
    for each in flow_sample(snapshot).ports:
        yield _of_address(each), each.size


def _of_address(use: PortsInUse) -> tuple[str, ...]:
    family, protocol, address, _, _ = use.towards
    return family.value, PROTOCOLS[protocol], str(ipaddress.ip_address(address))


COLLECTOR = Collector(
    "flows",
    "a sample of the flow table: states, new connections, whether they are translated and answered",
    budget=56,
    metrics=(
        Metric(
            "flow_sample_entries",
            "Number of entries in the flow table at the last sample. Absent if no sample is taken.",
            source=_SOURCE,
            samples=value(lambda s: flow_sample(s).entries),
        ),
        Metric(
            "flow_sample_timestamp_seconds",
            "Time of the last sample in seconds since the epoch.",
            source="clock",
            samples=value(lambda s: flow_sample(s).timestamp),
        ),
        Metric(
            "flows",
            "Estimated number of flows by state: the state of TCP, or unreplied, replied or"
            " assured for other protocols. Only the 24 series with the most flows. Absent for a"
            " state without flows.",
            source=_SOURCE,
            samples=_flows,
            labels=("family", "protocol", "state"),
        ),
        Metric(
            "flows_offloaded",
            "Estimated number of flows in a flowtable.",
            source=_SOURCE,
            samples=_offloaded,
            labels=("family",),
        ),
        Metric(
            "flows_new_total",
            "Estimated number of new flows since the exporter started. scope: outbound (from a"
            " private network behind this host to a global address) or private (to another private"
            " network). translated: source, destination, both or none. replied: yes, no (also if"
            " the client of a TCP connection does not acknowledge the reply), or unknown if the"
            " flow ended early or its protocol needs no reply. Does not count"
            " connections that the server refuses, nor flows that begin and end between two"
            " samples.",
            source=_SOURCE,
            samples=_new,
            labels=("family", "scope", "translated", "replied"),
        ),
        Metric(
            "flow_births_sampled_total",
            "Number of new sampled flows that were watched long enough to see whether they got a"
            " reply. netfilter_flows_new_total is estimated from them.",
            source=_SOURCE,
            samples=_sampled,
            labels=("family", "scope"),
        ),
        Metric(
            "flow_birth_sources",
            "Number of distinct sources of new outbound flows in the last two minutes. A source"
            ' counts once, under the outcome of its latest flow. With replied="no" at most two'
            " sources count for each destination.",
            source=_SOURCE,
            samples=_sources,
            labels=("family", "scope", "translated", "replied"),
        ),
        Metric(
            "snat_ports_used_ratio",
            "Ports of a translated source address in use towards the destination that uses most"
            " of them, as a share of netfilter_snat_ports_range. Connections in TIME_WAIT or CLOSE"
            " do not count: kernels since 6.5 use their ports again, on older ones the value is"
            " too low. Estimated from the sample below one half; a count in a large table may be"
            " ten minutes old. Absent if the sample is too small, and if the range is unknown.",
            source=_SOURCE,
            samples=_ports_ratio,
            labels=("family", "protocol", "address"),
            bounded=True,
        ),
        Metric(
            "snat_ports_range",
            "Number of ports that the NAT rule lets the kernel use for a translated source address:"
            " 64512 without a range in the rule. Absent if rules with different ranges translate to"
            " the address, or not all rules could be read in full.",
            source=_SOURCE,
            samples=_ports_range,
            labels=("family", "protocol", "address"),
            bounded=True,
        ),
    ),
)
