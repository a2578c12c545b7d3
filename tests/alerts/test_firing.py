"""The recorded hosts, before a fault and after it, through the rules."""

import pytest

from support import firing, page, series
from support.host import FakeHost

pytestmark = pytest.mark.timeout(300)

CASES = {
    # kernel, healthy state, state of the fault: what a person is told
    ("6.1", "nat-legacy", "nat-legacy"): set(),
    ("6.1", "idle", "idle"): set(),
    ("6.1", "nat-legacy", "rules-flushed"): {"NetfilterConntrackDisabled"},
    ("4.9", "nat-legacy", "rules-flushed"): {"NetfilterNatRulesGone"},
    # Its rules name an interface that was not there, too.
    ("6.18", "nat-legacy", "forward-off"): {
        "NetfilterNatForwardingDisabled",
        "NetfilterNatInterfaceMissing",
    },
    ("6.1", "nat-legacy", "notrack"): {"NetfilterNotrackRules"},
    ("7.2", "nat-legacy", "both-backends"): {"NetfilterNatBackendsMixed"},
    # What was recorded drops no more: then it is told that the table is full.
    ("6.18", "nat-legacy", "table-full"): {
        "NetfilterConntrackDropping",
        "NetfilterConntrackTableFilling",
    },
    ("5.10", "nat-legacy", "nat-unreachable-legacy"): {"NetfilterNatRulesUnreachable"},
    # It tells NetfilterModuleForcedUnload too, for which one page is enough.
    ("4.9", "nat-legacy", "ipv4-module-forced-out"): {"NetfilterConntrackDisabled"},
}


def pages(folder, kernel, state):
    """Return ten equal pages of a recorded host."""
    name = f"{kernel}/{state}"
    return [page.make(FakeHost(name, str(folder / name.replace("/", "-"))))] * 10


@pytest.fixture(scope="module")
def fired(tmp_path_factory):
    """What the rules fire on each of CASES."""
    folder = tmp_path_factory.mktemp("firing")
    hosts = {}
    for number, (kernel, healthy, fault) in enumerate(CASES):
        place = folder / str(number)
        before, after = pages(place / "before", kernel, healthy), pages(place, kernel, fault)
        hosts[f"{kernel} {healthy} {fault}"] = series.Recorded(before, after)
    return firing.evaluate(hosts, folder)


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_recorded_hosts_fire_what_they_should(fired, case):
    """Nothing is told of the healthy host in a day, and of the fault what is right."""
    found = fired[" ".join(case)]
    standing = {alert.name for alert in found.before}
    told = {alert.name for alerts in found.after for alert in alerts}
    assert told - standing == CASES[case]
