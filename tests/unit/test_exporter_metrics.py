"""exporter_metrics.py and kernel/namespace.py: the exporter's own rows, and METRICS.md."""

from pathlib import Path

import pytest

from netfilter_exporter import collectors
from netfilter_exporter.collection import Gatherer, Outcome, Run
from netfilter_exporter.collectors.base import Collector, Metric, value
from netfilter_exporter.exporter_metrics import ROWS, page_families
from netfilter_exporter.facts.conntrack import statistics
from netfilter_exporter.facts.snapshot import Host, fact
from netfilter_exporter.kernel.errors import Denied, ReadError, Status, Unsupported
from netfilter_exporter.kernel.files import Paths
from netfilter_exporter.kernel.namespace import read_host_network_namespace
from netfilter_exporter.kernel.system import System
from support import readme
from support.metric_table import metric_table

FOUND = collectors.load()


@pytest.fixture
def paths(tmp_path):
    """An empty procfs."""
    return Paths(procfs=str(tmp_path))


def touch(paths, name):
    file = Path(paths.proc(name))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("1\n")


def page(paths, *found):
    """Return the samples of a page by metric name."""
    gatherer = Gatherer(Host(System(paths)))
    run = gatherer.gather(found)
    gatherer.close()
    families = page_families(run)
    return {metric.name: samples for metric, samples in families}, families


@pytest.mark.parametrize("name", ["sys/net/core/netdev_budget", "sys/net/nf_conntrack_max"])
def test_the_initial_namespace(paths, name):
    """Either of the two files that only the initial namespace has proves it."""
    touch(paths, "sys/net/core/somaxconn")
    touch(paths, name)
    assert read_host_network_namespace(paths) is True


def test_another_namespace(paths):
    """net.core without what only the initial namespace has there is another one."""
    touch(paths, "sys/net/core/somaxconn")
    assert read_host_network_namespace(paths) is False
    assert page(paths)[0]["exporter_host_network_namespace"] == (((), 0),)


def test_a_sandbox_without_net_core(paths):
    """Where net.core is hidden nothing is known, and so nothing is said."""
    with pytest.raises(Unsupported):
        read_host_network_namespace(paths)
    assert page(paths)[0]["exporter_host_network_namespace"] == ()


def test_how_a_scrape_went(paths):
    """Success, the one status that holds, and what was left out, for each collector."""

    def denied(_):
        yield ("first",), 1
        raise Denied("no right")

    def many(_):
        return [((str(number),), number) for number in range(70)]

    made, _ = page(
        paths,
        Collector("a", "", (Metric("a", "", source="", samples=denied, labels=("name",)),)),
        Collector(
            "b", "", (Metric("b", "", source="", samples=many, labels=("n",), bounded=True),)
        ),
        Collector("c", "", (Metric("c", "", source="", samples=value(lambda _: None)),)),
    )
    assert made["scrape_collector_success"] == ((("a",), 0), (("b",), 1), (("c",), 1))
    assert made["scrape_collector_status"] == (
        (("a", "denied"), 1),
        (("b", "ok"), 1),
        (("c", "ok"), 1),
    )
    assert made["series_omitted"] == ((("netfilter_b",), 6),)
    assert made["a"] == ((("first",), 1),)
    assert len(made["b"]) == 64


def test_the_status_of_sources_that_were_asked(paths):
    """A source has a status only where a collector asked it, and only one."""
    made, _ = page(paths, FOUND["conntrack"])
    assert made["source_status"] == ((("statistics", "no_data"), 1),)


def test_a_thread_that_was_left_behind_hides_no_status(paths):
    """It may read another fact while the page is made."""
    snapshot = Host(System(paths)).snapshot(1.0)

    class Meanwhile(ReadError):
        @property
        def status(self):
            snapshot.errors[fact(lambda _: None)] = ReadError("")
            return Status.DENIED

    snapshot.errors[statistics] = Meanwhile("")
    assert snapshot.source_status() == {"statistics": Status.DENIED}


@pytest.mark.parametrize("left_behind", [False, True])
def test_what_a_thread_may_still_use_stays_open(paths, monkeypatch, left_behind):
    """Another socket could get the number of one that is closed under it."""
    snapshot = Host(System(paths)).snapshot(1.0)
    closed = []
    monkeypatch.setattr(snapshot, "close", lambda: closed.append(True))
    Run(snapshot, {"a": Outcome(), "b": Outcome(left_behind=left_behind)}).close()
    assert bool(closed) is not left_behind


@pytest.mark.parametrize("options", [(), tuple(o for c in FOUND.values() for o in c.options)])
def test_no_family_is_there_twice(options):
    """Whatever options are on, a metric has one row that is served, and labels fit for it."""
    rows = [row for found in FOUND.values() for row in found.metrics]
    served = [
        row
        for row in (*ROWS, *rows)
        if (row.option is None or row.option in options) and row.unless not in options
    ]
    names = [row.name for row in served]
    assert sorted(names) == sorted(set(names))


def test_the_page_has_one_order(paths):
    """Two scrapes give the same families in the same order, however collectors are given."""
    found = [FOUND["conntrack"], FOUND["modules"]]
    first, second = (
        [metric.name for metric, _ in page(paths, *order)[1]] for order in (found, found[::-1])
    )
    assert first == second


def test_the_table_of_metrics_is_that_of_the_code():
    """Every metric is in exporter/METRICS.md: after a change, `tests/run --update`."""
    assert readme.is_current("metrics", metric_table(FOUND)), "run tests/run --update"


def test_the_table_tells_what_is_opt_in():
    """A row that needs a flag says which."""
    table = metric_table(FOUND)
    assert (
        "| `netfilter_conntrack_drop_total` | cpu (with `--collector.conntrack.per-cpu`) |" in table
    )
    assert "| `netfilter_scrape_collector_status` | collector, status | gauge |" in table


def test_a_readme_without_markers_is_an_error():
    """The table is never written somewhere else."""
    with pytest.raises(ValueError, match="metrics:begin"):
        readme.embed("text", "metrics", "table")
