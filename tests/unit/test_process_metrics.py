"""process.py: the metrics of the process are those of prometheus-client's collector."""

import os

import pytest
from prometheus_client import ProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from netfilter_exporter import process
from netfilter_exporter.exposition import Exposition


def page(rows=process.ROWS):
    """Return the families of a page, by name."""
    text, _ = Exposition().render(process.ProcessReader(rows).families(), "text/plain")
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def test_all_of_them_are_rows():
    """Whoever has dashboards for other exporters has them for this one, help and type included."""
    theirs = {family.name: family for family in ProcessCollector(registry=None).collect()}
    assert {name: (f.type, f.documentation) for name, f in page().items()} == {
        name: (f.type, f.documentation) for name, f in theirs.items()
    }


def test_the_values_are_of_this_process():
    """Memory, descriptors and the start are those that the kernel has for it."""
    values = {name: family.samples[0].value for name, family in page().items()}
    assert abs(values["process_open_fds"] - len(os.listdir("/proc/self/fd"))) <= 1
    resident = values["process_resident_memory_bytes"]
    assert 1 << 20 < resident < values["process_virtual_memory_bytes"]
    assert values["process_cpu_seconds"] > 0


def test_the_time_of_the_start_can_be_served_alone():
    """--web.disable-exporter-metrics leaves what alerts need."""
    assert list(page([process.START_TIME])) == ["process_start_time_seconds"]


@pytest.mark.parametrize("unreadable", ["fd", "limits"])
def test_without_a_part_of_proc_the_others_are_served(monkeypatch, tmp_path, unreadable):
    """A number that cannot be read has no sample, and takes nothing else with it."""
    reader = process.ProcessReader(process.ROWS)
    for name in {"stat", "limits", "fd"} - {unreadable}:
        (tmp_path / name).symlink_to(f"/proc/self/{name}")
    monkeypatch.setattr(reader._collector, "_proc", str(tmp_path.parent))
    monkeypatch.setattr(reader._collector, "_pid", lambda: tmp_path.name)
    without = {row.full_name for row, samples in reader.families() if not samples}
    assert without == {"process_open_fds", "process_max_fds"}


def test_a_limit_that_is_no_number_is_no_missing_page(monkeypatch, caplog):
    """The collector takes "unlimited" for a number, and fails."""

    def fail():
        raise ValueError("could not convert string to float: b'unlimited'")

    reader = process.ProcessReader(process.ROWS)
    monkeypatch.setattr(reader._collector, "collect", fail)
    assert [samples for _, samples in reader.families()] == [()] * len(process.ROWS)
    assert "left out" in caplog.text
