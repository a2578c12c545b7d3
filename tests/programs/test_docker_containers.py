"""Real containers: the namespaces of three, each under its name, none longer than it lives."""

import subprocess

import pytest

from stage import root, run
from stage.containers import NAMES
from stage.program import STABLE
from support import limit, needs
from support.page import Page
from writers import _docker

TOOLS = ("ip", "nft", "conntrack", "unshare", "nsenter", "chroot", "dpkg-deb")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def facts():
    """What is seen of them."""
    lacking = None if needs.E2E else needs.root_and(*TOOLS)
    if lacking:
        pytest.skip(lacking)
    with needs.packages(), limit.kept():
        try:
            return run.isolated("stage.containers", str(root.unpacked(STABLE, _docker.PACKAGES)))
        except subprocess.CalledProcessError as error:
            pytest.fail(error.stderr)


@pytest.fixture
def names(facts):
    """What each is called on the page."""
    return {**facts["netns"], "web": "web"}


def test_each_has_its_name(facts, names):
    """That of /run/netns, or its inode number; the IDs are Docker's, and stand in one metric."""
    page = Page(facts["page"])
    for name in NAMES:
        (info,) = page.samples("netns_info", container=facts["ids"][name])
        assert info.labels["netns"] == names[name]
    with_ids = [line for line in facts["page"].splitlines() if facts["ids"]["web"] in line]
    assert len(with_ids) == 1


def test_each_has_its_table(facts, names):
    """As many connections as conntrack(8) counts in it."""
    page = Page(facts["page"])
    for name in NAMES:
        assert page.total("netns_conntrack_entries", netns=names[name]) == facts["tracked"][name]
        assert facts["tracked"][name] >= 7
        assert page.total("netns_conntrack_drop_total", netns=names[name]) == 0


def test_the_rules_of_dockers_resolver_are_seen(facts):
    """In the namespace that has a name, through the helper: as many as iptables lists there."""
    page = Page(facts["page"])
    assert facts["listed"] == 4
    assert page.total("netns_nat_rules", netns="web", family="ipv4") == 4
    assert page.total("netns_conntrack_tracking", netns="web", family="ipv4") == 1
    assert page.total("source_status", source="netns_helper", status="ok") == 1


def test_check_finds_the_table_that_fills(facts, names):
    """Of all, it is that container's; the one that is asked for is fine; nobody is unknown."""
    ((netns, severity, summary),) = facts["checked"]["all"]
    assert (netns, severity) == (names["full"], "warning")
    assert "82% full" in summary
    assert facts["checked"]["web"] == []
    ((_, severity, summary),) = facts["checked"]["nobody"]
    assert (severity, summary) == ("unknown", "Unknown: no other network namespace of this name")


def test_what_is_removed_is_gone(facts, names):
    """Its namespace, with a last interface, within a second; then its series; others stay."""
    assert all(seconds < 1 for seconds in facts["freed"].values()), facts["freed"]
    page = Page(facts["after"])
    for gone in names["gone"], "web":
        assert not [line for line in facts["after"].splitlines() if f'netns="{gone}"' in line]
    assert page.total("netns_conntrack_entries", netns=names["full"]) > 0
