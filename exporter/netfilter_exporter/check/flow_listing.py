"""``check --flows``: the flows of a sample, with addresses: for a terminal and nothing else."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator, Sequence

from netfilter_exporter.config.model import Config
from netfilter_exporter.facts.flows import make_looker, open_routes, settings
from netfilter_exporter.flows.scope import Classifier, Routes, Scope
from netfilter_exporter.kernel.conntrack.flow import (
    PROTOCOLS,
    Flow,
    Kind,
    Reading,
    Translated,
)
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.system import System

_LINES = 10
_JUDGED = 100  #: pairs of ends whose routes are looked up


def render(system: System, config: Config) -> str:
    """Return the states of flows, the top private sources, and the top destinations."""
    chosen = settings(config.flows)
    try:
        look = make_looker(system).look(chosen.sample_size)
        with open_routes(system) as routes:
            classifier = Classifier(chosen.networks)
            lines = list(_lines(look.reading, look.entries, classifier, routes))
    except ReadError as error:
        return f"\nFlows: unknown: {error}\n"
    return "\n".join(["", *lines]) + "\n"


def _lines(reading: Reading, entries: int, classifier: Classifier, routes: Routes) -> Iterator[str]:
    flows = [reading.flow(index) for index in range(len(reading.keys))]
    yield f"Flows: {entries}, of which {len(flows)} were sampled"
    yield from _table("State", _states(reading.census), len(flows))
    private = Counter(flow.source for flow in flows if classifier.is_private(flow.source))
    yield from _table("Private source", _addresses(private), len(flows))
    yield from _table("Destination", _addresses(Counter(f.destination for f in flows)), len(flows))
    yield from _table("Translated to, and destination", _ports(reading), len(flows))
    yield from _lost_table(flows, classifier, routes)


def _lost_table(flows: Sequence[Flow], classifier: Classifier, routes: Routes) -> Iterator[str]:
    try:
        lost = _lost(flows, classifier, routes)
    except ReadError as error:
        yield f"\n  Neither translated nor answered: unknown: {error}"
        return
    yield from _table("Neither translated nor answered", lost, len(flows))
    if lost:
        yield ""
        yield "  A flow keeps what its first packet met. If it is older than the rules:"
        yield "  conntrack -D -s SOURCE"


def _lost(flows: Sequence[Flow], classifier: Classifier, routes: Routes) -> Counter[str]:
    """Return the outbound flows that are neither translated nor answered, by their ends.

    The kernel looks up a route for each end, so only the most frequent ends are judged.
    """
    lost = [f for f in flows if f.translated is Translated.NONE and not f.kind.answered]
    examples = {_ends(flow): flow for flow in lost}
    found: Counter[str] = Counter()
    for ends, number in Counter(map(_ends, lost)).most_common(_JUDGED):
        if classifier.scope(examples[ends], routes) is Scope.OUTBOUND:
            found[ends] = number
    return found


def _ends(flow: Flow) -> str:
    return _written(flow.kind.protocol, flow.source, flow.destination, flow.port)


def _written(protocol: str, source: bytes, destination: bytes, port: int | None) -> str:
    ends = (str(ipaddress.ip_address(each)) for each in (source, destination))
    return " ".join([protocol, *ends, *(() if port is None else (str(port),))])


def _ports(reading: Reading) -> Counter[str]:
    """Return the flows that share the ports of a translated address."""
    found: Counter[str] = Counter()
    for use in reading.port_use(_LINES, 1):
        _, protocol, address, destination, port = use.towards
        found[_written(PROTOCOLS[protocol], address, destination, port)] += len(use.ports)
    return found


def _states(census: Counter[Kind]) -> Counter[str]:
    found: Counter[str] = Counter()
    for kind, number in census.items():
        offloaded = " offloaded" if kind.offloaded else ""
        found[f"{kind.family.value} {kind.protocol} {kind.state}{offloaded}"] += number
    return found


def _addresses(packed: Counter[bytes]) -> Counter[str]:
    return Counter({str(ipaddress.ip_address(a)): n for a, n in packed.most_common(_LINES)})


def _table(title: str, rows: Counter[str], total: int) -> Iterator[str]:
    if rows:
        yield ""
        yield f"  {title:<40} {'sampled':>8} {'share':>6}"
    for name, number in rows.most_common(_LINES):
        yield f"  {name:<40} {number:>8} {number / total:>6.0%}"
