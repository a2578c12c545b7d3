"""The page of each recorded host: as it was approved, well-formed, and true."""

import collections
import difflib
import subprocess
from pathlib import Path

import pytest

from netfilter_exporter import collectors, exporter_metrics, process
from support import page, recording
from support.claims import false_claims
from support.host import FakeHost

GOLDEN = Path(__file__).parent
NAMES = recording.names()

#: What may differ between root and a user: how the looking went.
OF_THE_LOOKING = tuple(
    f"netfilter_{name}" for name in ("scrape_", "source_status", "exporter_", "nat_readable")
)


class Scraped:
    """A recorded host and the page of one scrape of it."""

    def __init__(self, name, directory):
        self.name = name
        self.host = FakeHost(name, str(directory))
        self.page = page.make(self.host)
        self.golden = GOLDEN / f"{name.replace('/', '-')}.prom"


def statuses(made):
    """Return every status on a page."""
    metrics = "scrape_collector_status", "source_status"
    return {sample.labels["status"] for name in metrics for sample in made.samples(name)}


@pytest.fixture(scope="module", params=NAMES)
def scraped(request, tmp_path_factory):
    """A host that was scraped once; the tests below only look at what came of it."""
    return Scraped(request.param, tmp_path_factory.mktemp("host"))


def test_page_is_the_approved_one(scraped, request):
    """Nothing on the page changes unseen; `tests/run --update` approves."""
    got = scraped.page.stable_text
    if request.config.getoption("--update-golden"):
        scraped.golden.write_text(got)
    expected = scraped.golden.read_text() if scraped.golden.exists() else ""
    if got != expected:
        lines = difflib.unified_diff(
            expected.splitlines(), got.splitlines(), "approved", "now", lineterm="", n=1
        )
        hint = "\n\nIf this is right: tests/run --update, and review the diff."
        pytest.fail(f"{scraped.name}:\n" + "\n".join(lines) + hint, pytrace=False)


def test_page_agrees_with_the_facts(scraped):
    """Every fact that is known of the host by construction or measurement stands on its page."""
    wrong = list(false_claims(scraped.page, scraped.host))
    assert not wrong, "\n".join([scraped.name, *wrong])


def test_page_is_clean(scraped):
    """Prometheus' own linter finds nothing."""
    lint = subprocess.run(
        ["promtool", "check", "metrics"],
        input=scraped.page.text.encode(),
        capture_output=True,
        check=False,
    )
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, b"")


def test_looking_changes_nothing(scraped):
    """No question would have loaded a module, made a table or deleted what is not ours."""
    assert scraped.host.kernel.harm == []
    assert scraped.host.kernel.unknown == []


def test_the_probe_leaves_nothing_behind(scraped):
    """Each entry that the probe made was deleted, once."""
    assert scraped.host.kernel.probe_entries == set()
    deleted = scraped.host.kernel.deleted
    assert len(deleted) == len(set(deleted))


def test_nothing_fails(scraped):
    """On a host where root asks, no collector and no source meets an error."""
    assert statuses(scraped.page).isdisjoint({"denied", "timeout", "error"})


def test_without_privilege_the_rest_is_served(scraped, tmp_path, monkeypatch):
    """A user sees every world-readable number, no number that root does not see, and why."""
    host = FakeHost(scraped.name, str(tmp_path))
    host.drop_privilege(monkeypatch)
    poor = page.make(host)
    for metric in "conntrack_entries", "conntrack_entries_limit", "module_info", "sysctl":
        assert poor.samples(metric) == scraped.page.samples(metric)
    assert {line for line in poor.lines() if not line.startswith(OF_THE_LOOKING)} <= set(
        scraped.page.lines()
    )
    assert statuses(poor).isdisjoint({"timeout", "error"})
    assert host.kernel.harm == []


def test_each_collector_keeps_its_budget(scraped):
    """On a NAT gateway with one backend, no collector serves more samples than its file says."""
    _, state = scraped.name.split("/")
    if state not in {"nat-legacy", "nat-nft", "nat-vmap", "nat-iptables-nft"}:
        return
    found = collectors.load()
    owner = {row.full_name: name for name, each in found.items() for row in each.metrics}
    served = collections.Counter(owner.get(name) for name, _, _ in scraped.page.everything())
    assert served.pop(None) + len(process.ROWS) <= exporter_metrics.BUDGET
    assert {name: n for name, n in served.items() if n > found[name].budget} == {}


def test_no_page_is_left_over():
    """Each approved page is that of a recorded host."""
    approved = {path.stem for path in GOLDEN.glob("*.prom")}
    assert approved == {name.replace("/", "-") for name in NAMES}
