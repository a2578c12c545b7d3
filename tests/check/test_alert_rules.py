"""The check and the alert rules say the same on every recorded host."""

import pytest

from netfilter_exporter.check.alerts import ALERTS
from netfilter_exporter.check.findings import Severity
from support import checks, recording, still_pages
from support.host import FakeHost

CONFIGURATIONS = {"auto": "", "required": "nat: {ipv4: required, ipv6: none}"}


def test_each_alert_is_registered_once():
    """The table has no name twice, and no severity that is none."""
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)
    assert all(Severity.UNKNOWN not in alert.severities for alert in ALERTS)


KERNELS = list(dict.fromkeys(name.split("/")[0] for name in recording.names()))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_the_rules_fire_what_the_check_finds(configuration, kernel, tmp_path):
    """On every recorded host that stays as it is, the alerts that fire are those that are found."""
    tests = []
    for name in recording.names():
        if not name.startswith(f"{kernel}/"):
            continue
        host = FakeHost(name, str(tmp_path / name.replace("/", "-")))
        run = checks.scrape(host, CONFIGURATIONS[configuration])
        found = {
            (finding.alert, finding.severity.value) for finding in checks.report_on(run).broken
        }
        tests.append(still_pages.rule_test(name, checks.page_of(run), found))
    assert not still_pages.run(tests, tmp_path)
