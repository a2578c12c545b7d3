"""process.py: the metrics of the process are those that prometheus-client's own collector makes."""

import errno
import math
import os
import resource

import pytest
from prometheus_client import ProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from netfilter_exporter import process
from netfilter_exporter.exposition import Exposition


def samples():
    """Return the samples of each row, by its name."""
    families = process.ProcessReader(process.ROWS).families()
    return {row.full_name: samples for row, samples in families}


@pytest.fixture
def both():
    """Return the families of a page, ours and theirs, by name."""
    text, _ = Exposition().render(process.ProcessReader(process.ROWS).families(), "text/plain")
    ours = {family.name: family for family in text_string_to_metric_families(text.decode())}
    theirs = {family.name: family for family in ProcessCollector(registry=None).collect()}
    return ours, theirs


def test_names_types_and_help_are_theirs(both):
    """Whoever has dashboards for other exporters has them for this one."""
    ours, theirs = (
        {name: (family.type, family.documentation) for name, family in families.items()}
        for families in both
    )
    assert ours == theirs


def test_the_values_are_theirs(both):
    """The same source gives the same, but for what happened in between."""
    ours, theirs = ({n: f.samples[0].value for n, f in families.items()} for families in both)
    for name, most in {
        "process_cpu_seconds": 1,
        "process_open_fds": 1,
        "process_max_fds": 0,
        "process_virtual_memory_bytes": 1 << 24,
        "process_resident_memory_bytes": 1 << 24,
        "process_start_time_seconds": 0.011,
    }.items():
        assert abs(ours.pop(name) - theirs.pop(name)) <= most, name
    assert ours == theirs == {}


def test_descriptors_are_counted_where_the_kernel_does_not(monkeypatch):
    """Before Linux 6.2 the directory has no size."""
    count = len(os.listdir("/proc/self/fd"))
    real = os.stat
    zero = os.stat_result([0] * 10)
    monkeypatch.setattr(os, "stat", lambda path: zero if path == "/proc/self/fd" else real(path))
    found = samples()
    assert found["process_open_fds"] == (((), count),)


def test_no_limit_of_descriptors_is_infinite(monkeypatch):
    """It is a number of the page all the same."""
    limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    found = samples()
    assert found["process_max_fds"] == (((), math.inf),)


def test_without_proc_the_others_are_served(monkeypatch):
    """A number that cannot be read has no sample, and takes nothing else with it."""

    def refuse(_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "stat", refuse)
    found = samples()
    assert [name for name, values in found.items() if not values] == ["process_open_fds"]
