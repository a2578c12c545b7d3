"""Every alert at every scrape interval that is promised: that it fires, does not flap, and when."""

import re

import pytest

from netfilter_exporter import assets, scrape_interval
from support import readme, rule_tests, scenarios
from support.answers import Evaluation, ask

RULES = assets.load_rules(assets.files()[assets.RULES])
SCENARIOS = scenarios.scenarios()
#: Scenarios that take longer have hours of history.
SHORT = 10_000
INTERVALS = (15, 30, 60, 120, 300)
EVALUATION = 60  #: seconds, Prometheus' own
TABLE = re.compile(r"^\| (\d+) s \| (\d+) s \| (\d+) s \|$", re.MULTILINE)

pytestmark = pytest.mark.timeout(600)


def rules_for(interval):
    """Return the rules as `assets --scrape-interval` writes them."""
    return assets.render_rules(RULES, assets.Overrides(scrape_interval=interval))


def unsteady(found, rules, interval, folder, evaluation=EVALUATION):
    """Return the alerts that do not fire all the time that is looked at."""
    steady = scenarios.steady(found, rules, interval, evaluation, folder)
    return {alert for alert, share in steady.items() if share != 1}


def test_every_alert_has_a_scenario():
    """Each severity of each alert of a host is among those that are tried."""
    rules = [rule for rule in assets.rules_of(RULES) if "alert" in rule]
    wanted = {(rule["alert"], rule["labels"]["severity"]) for rule in rules}
    wanted -= {
        ("NetfilterFleetNatBroken", "critical"),
        ("NetfilterRulesVersionMismatch", "warning"),
    }
    assert {(each.alert.name, each.alert.severity) for each in SCENARIOS} == wanted


@pytest.mark.parametrize("interval", INTERVALS)
def test_every_alert_fires_and_does_not_flap(tmp_path, interval):
    """With a fault that stays and every fifth scrape lost, each alert fires all the time."""
    short = [each for each in SCENARIOS if each.since <= SHORT]
    assert not unsteady(short, rules_for(interval), interval, tmp_path)


def of_tickets():
    """Return the names of the alerts whose groups have an interval."""
    slow = [group for group in RULES["groups"] if group.get("interval") == "3m"]
    return {rule["alert"] for group in slow for rule in group["rules"] if "alert" in rule}


@pytest.mark.parametrize("interval", [60, 300])
def test_tickets_do_not_flap_in_groups_that_are_evaluated_less_often(tmp_path, interval):
    """The same for tickets, with every rule evaluated as seldom as theirs are: each 3 minutes."""
    names = of_tickets()
    short = [
        each
        for each in SCENARIOS
        if each.since <= SHORT and each.alert.name in names and each.alert.severity != "critical"
    ]
    asked = [{"alertname": name} for name in names]
    rules = rule_tests.needed(rules_for(interval), {"alert_rule_test": asked})
    assert not unsteady(short, rules, interval, tmp_path, evaluation=180)


def test_alerts_with_hours_of_history_fire_at_the_longest_interval(tmp_path):
    """The same for those whose history takes hours, at five minutes."""
    # A table that fills cannot stay as it is; it is judged by recorded series over hours.
    growth = "NetfilterConntrackTableWillFill"
    long = [each for each in SCENARIOS if each.since > SHORT and each.alert.name != growth]
    asked = [{"alertname": each.alert.name} for each in long]
    rules = rule_tests.needed(rules_for(300), {"alert_rule_test": asked})
    assert not unsteady(long, rules, 300, tmp_path, evaluation=300)


def test_the_test_finds_what_cannot_fire(tmp_path):
    """Windows that are too short for the interval are noticed."""
    name = "NetfilterConntrackUnlimited"
    (one,) = (each for each in SCENARIOS if each.alert.name == name)
    rules = rule_tests.needed(RULES, {"alert_rule_test": [{"alertname": name}]})
    assert unsteady([one], rules, 300, tmp_path) == {one.alert}
    assert not unsteady([one], rules, 60, tmp_path)


TARGET = 'job="netfilter",instance="gw1"'
IPV4 = f'{TARGET},family="ipv4"'
#: What a gateway serves, before and after each of the faults that its configuration shows.
BEFORE_AND_AFTER = {
    f'netfilter_nat_rules{{{IPV4},backend="nftables",action="snat"}}': (3, 0),
    f'netfilter_nat_readable{{{IPV4},backend="nftables"}}': (1, 1),
    f"netfilter_nat_expected{{{IPV4}}}": (1, 1),
    f"netfilter_nat_forwarded_rules{{{IPV4}}}": (1, 1),
    f"netfilter_forwarding_enabled{{{IPV4}}}": (1, 0),
    f"netfilter_conntrack_tracking{{{IPV4}}}": (1, 0),
    f'netfilter_capability_needed{{{TARGET},capability="nat"}}': (1, 1),
    f'netfilter_capability{{{TARGET},capability="nat"}}': (1, 0),
    f"netfilter_conntrack_entries{{{TARGET}}}": (5, 99),
    f"netfilter_conntrack_entries_limit{{{TARGET}}}": (100, 100),
}
PAGES = {
    f"Netfilter{name}"
    for name in (
        *("NatRulesGone", "NatForwardingDisabled", "ConntrackDisabled"),
        *("ConntrackModuleMissing", "ConntrackTableFilling"),
    )
}


def promised():
    """Return how many seconds after a fault a page fires, by scrape and evaluation interval."""
    text = (readme.ROOT / "alerts" / "README.md").read_text(encoding="utf-8")
    return {(int(s), int(e)): int(within) for s, e, within in TABLE.findall(text)}


def test_the_times_to_page_are_promised_for_each_interval():
    """The table has a line for each interval that is tried, and no others."""
    assert [scrape for scrape, _ in promised()] == list(INTERVALS)
    assert max(INTERVALS) == scrape_interval.LONGEST


@pytest.mark.parametrize(("scrape", "evaluation"), promised())
def test_pages_fire_within_the_time_that_is_promised(tmp_path, scrape, evaluation):
    """From a fault just after a scrape, with groups evaluated in the order that takes longest."""
    rules = rule_tests.needed(
        rules_for(scrape), {"alert_rule_test": [{"alertname": name} for name in PAGES]}
    )
    fault = 1800 // scrape * scrape
    # Evaluations of Prometheus are at any time between two of promtool's.
    latest = fault + promised()[scrape, evaluation] - evaluation
    before, after = fault // scrape, 1200 // scrape
    series = [
        {"series": name, "values": f"{was}+0x{before} {then}+0x{after}"}
        for name, (was, then) in BEFORE_AND_AFTER.items()
    ]
    count = 'count by (alertname) (ALERTS{alertstate="firing",severity="critical"})'
    order = [group["name"] for group in reversed(rules["groups"])]
    how = Evaluation(scrape, evaluation, order)
    answers = ask(tmp_path, rules, series, [(count, latest)], how)
    fired = {labels["alertname"]: found for labels, found in answers.samples(count, latest)}
    assert fired == dict.fromkeys(PAGES, 1)
