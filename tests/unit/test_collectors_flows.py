"""collectors/flows.py and facts/flows.py: what the page says of a sample."""

import ipaddress
import time

import pytest

from netfilter_exporter.collectors.flows import COLLECTOR
from netfilter_exporter.config.flows import Flows
from netfilter_exporter.config.model import Config
from netfilter_exporter.facts.flows import flow_sampler, settings
from netfilter_exporter.facts.snapshot import Host
from netfilter_exporter.flows.births import Class, Replied
from netfilter_exporter.flows.networks import Networks
from netfilter_exporter.flows.observer import Sample, Settings
from netfilter_exporter.flows.scope import Scope
from netfilter_exporter.kernel.conntrack.flow import Kind, Translated
from netfilter_exporter.kernel.errors import NoData, ReadError, Status, TimedOut
from netfilter_exporter.kernel.system import System
from netfilter_exporter.rules.families import Family
from support.page import collected

V4, V6 = Family.IPV4, Family.IPV6
BAD = Class(V4, Scope.OUTBOUND, Translated.NONE, Replied.NO)
GOOD = Class(V4, Scope.OUTBOUND, Translated.SOURCE, Replied.YES)


def sample(**fields):
    """Return a sample with some fields other than those of an empty table."""
    empty = {"flows": {}, "births": {}, "waiting": {}, "sampled": {}, "sources": {}}
    return Sample(**{"at": time.monotonic(), "timestamp": 1.5, "entries": 0, **empty, **fields})


class Sampler:
    """Stands in for the sampler: what it found, or why not."""

    def __init__(self, found):
        self._found = found

    def current(self):
        if isinstance(self._found, ReadError):
            raise self._found
        return self._found


def page(found):
    """Return the samples of the collector, by metric name, and its status."""
    host = Host(System())
    host.kept[flow_sampler] = Sampler(found)
    return collected(COLLECTOR, host)


def test_a_table_that_is_empty():
    """Zero is known: each series that alerts compare is there."""
    rows, status = page(sample())
    assert status is Status.OK
    assert rows["flow_sample_entries"] == {(): 0}
    assert rows["flow_sample_timestamp_seconds"] == {(): 1.5}
    assert rows["flows"] == {}
    assert rows["flows_offloaded"] == {("ipv4",): 0, ("ipv6",): 0}
    for name in ("flows_new_total", "flow_birth_sources"):
        assert set(rows[name].values()) == {0}
        assert len(rows[name]) == 8


def test_births_are_told_by_what_became_of_them():
    """Each class is a series."""
    rows, _ = page(
        sample(
            births={BAD: 12.5, GOOD: 3.0},
            sampled={(V4, Scope.OUTBOUND): 9},
            sources={BAD: 4},
        )
    )
    assert rows["flows_new_total"]["ipv4", "outbound", "none", "no"] == 12.5
    assert rows["flows_new_total"]["ipv4", "outbound", "source", "yes"] == 3.0
    assert rows["flow_births_sampled_total"]["ipv4", "outbound"] == 9
    assert rows["flow_births_sampled_total"]["ipv6", "other"] == 0
    assert rows["flow_birth_sources"]["ipv4", "outbound", "none", "no"] == 4


def test_states_are_counted_whatever_else_differs():
    """Offloaded flows have a series of their own; the page has at most 24 states."""
    kinds = {
        Kind(V4, "tcp", "established", offloaded=False, replied=True): 10.4,
        Kind(V4, "tcp", "assured", offloaded=True, replied=True): 5.0,
        Kind(V6, "udp", "assured", offloaded=True, replied=True): 2.0,
        Kind(V6, "udp", "assured", offloaded=False, replied=True): 3.0,
        **{Kind(V6, "tcp", str(n), offloaded=False, replied=True): 1.0 for n in range(40)},
    }
    rows, _ = page(sample(flows=kinds))
    assert rows["flows"]["ipv4", "tcp", "established"] == 10
    assert rows["flows"]["ipv6", "udp", "assured"] == 5
    assert rows["flows_offloaded"] == {("ipv4",): 5, ("ipv6",): 2}
    assert len(rows["flows"]) == 24


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NoData("x"), Status.NO_DATA),
        (TimedOut("x"), Status.TIMEOUT),
        (ReadError("x"), Status.ERROR),
    ],
)
def test_without_a_sample_there_is_no_number(error, status):
    """The status says why."""
    rows, found = page(error)
    assert found is status
    assert not any(rows.values())


def test_a_process_that_takes_no_looks_has_no_data():
    """As in textfile mode, where two looks would be of two processes."""
    rows, status = collected(COLLECTOR, Host(System()))
    assert status is Status.NO_DATA
    assert not any(rows.values())


def test_flags_win_over_the_configuration():
    """Networks are only in the configuration."""
    networks = Networks(private=(ipaddress.ip_network("198.51.100.0/24"),))
    config = Config(flows=Flows(30, None, 20, networks))
    assert settings(config.flows) == Settings(30.0, Settings().sample_size, 0.02, networks)
    assert settings(config.flows, Flows(2, 1 << 16)) == Settings(2.0, 1 << 16, 0.02, networks)
    assert settings(Flows()) == Settings()
