"""The recorded hosts, before a fault and after it, through the rules."""

import pytest

from support import firing, needs, page

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CASES = (
    # kernel, healthy state, state of the fault, what a person is told
    ("6.1", "nat-legacy", "nat-legacy", set()),
    ("6.1", "idle", "idle", set()),
    ("6.1", "nat-legacy", "rules-flushed", {"NetfilterConntrackDisabled"}),
    ("4.9", "nat-legacy", "rules-flushed", {"NetfilterNatRulesGone"}),
    # Its rules name an interface that was not there, too.
    (
        "6.18",
        "nat-legacy",
        "forward-off",
        {"NetfilterNatForwardingDisabled", "NetfilterNatInterfaceMissing"},
    ),
    ("6.1", "nat-legacy", "notrack", {"NetfilterNotrackRules"}),
    ("7.2", "nat-legacy", "both-backends", {"NetfilterNatBackendsMixed"}),
    ("6.18", "nat-legacy", "table-full", {"NetfilterConntrackDropping"}),
    ("5.10", "nat-legacy", "nat-unreachable-legacy", {"NetfilterNatRulesUnreachable"}),
    # It tells NetfilterModuleForcedUnload too, for which one page is enough.
    ("4.9", "nat-legacy", "ipv4-module-forced-out", {"NetfilterConntrackDisabled"}),
)


@pytest.mark.parametrize(("kernel", "healthy", "fault", "told"), CASES)
def test_recorded_hosts_fire_what_they_should(fake_host, kernel, healthy, fault, told):
    """Nothing is told of the healthy host in a day, and of the fault what is right."""
    before = page.make(fake_host(f"{kernel}/{healthy}")).text
    after = page.make(fake_host(f"{kernel}/{fault}")).text
    with needs.packages():
        quiet, loud = firing.fired([before] * 10, [after] * 10)
    standing = {alert.name for alert in firing.told(quiet)}
    assert {alert.name for alert in firing.told(loud)} - standing == told
