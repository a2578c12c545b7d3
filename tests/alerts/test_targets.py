"""Targets that come and go, and series that a site drops, through promtool."""

import pytest

from netfilter_exporter import assets
from support import rule_tests
from support.answers import Evaluation, ask

RULES = assets.load_rules(assets.files()[assets.RULES])
TARGET = 'job="netfilter",instance="gw1"'
IPV4 = f'{TARGET},family="ipv4"'
#: A gateway that starts at 0, is healthy for 90 minutes and then loses its rules.
GATEWAY = {
    f"up{{{TARGET}}}": "1+0x239",
    f"process_start_time_seconds{{{TARGET}}}": "0+0x239",
    f"netfilter_exporter_build_info{{{TARGET}}}": "1+0x239",
    f'netfilter_nat_rules{{{IPV4},backend="nftables",action="snat"}}': "3+0x179 0+0x59",
    f'netfilter_nat_readable{{{IPV4},backend="nftables"}}': "1+0x239",
    f"netfilter_conntrack_tracking{{{IPV4}}}": "1+0x179 0+0x59",
}
#: One whose rules come two and a half minutes after it started.
BOOTED = {
    **GATEWAY,
    f"netfilter_nat_expected{{{IPV4}}}": "1+0x239",
    f"netfilter_conntrack_tracking{{{IPV4}}}": "0+0x4 1+0x230",
}
LEFT = {
    f"up{{{TARGET}}}": "1+0x239 stale",
    f"netfilter_exporter_build_info{{{TARGET}}}": "1+0x239 stale",
}


def without(series, name):
    """Return series without those whose name begins with `name`."""
    return {each: values for each, values in series.items() if not each.startswith(name)}


def fired(folder, series, alert, minute, rules=RULES, *, since=None, backwards=False):
    """Return the severities at which promtool finds `alert` firing, from `since` to `minute`.

    Samples are 30 s apart. Groups are evaluated in the order of the file, or `backwards`.
    """
    asked = {"alert_rule_test": [{"alertname": alert}]}
    span = f"[{minute - since}m]" if since else ""
    selector = f'ALERTS{{alertname="{alert}",alertstate="firing"}}{span}'
    told = f"last_over_time({selector})" if since else selector
    count, time = f"count by (severity) ({told})", minute * 60
    inputs = [{"series": each, "values": text} for each, text in series.items()]
    needed = rule_tests.needed(rules, asked)
    order = [group["name"] for group in needed["groups"]][:: -1 if backwards else 1]
    answers = ask(folder, needed, inputs, [(count, time)], Evaluation(30, 30, order))
    return {labels["severity"] for labels, _ in answers.samples(count, time)}


def test_a_target_that_left_is_told_where_that_is_asked_for(tmp_path):
    """removed_targets=1 makes a ticket of what discovery removed, for an hour; 0 does not."""
    told = assets.render_rules(RULES, assets.Overrides(thresholds={"removed_targets": 1}))
    assert not fired(tmp_path, LEFT, "NetfilterExporterDown", 140)
    assert fired(tmp_path, LEFT, "NetfilterExporterDown", 140, told)
    assert not fired(tmp_path, LEFT, "NetfilterExporterDown", 200, told)


@pytest.mark.parametrize("dropped", ["nothing", "up", "process_", "up and process_"])
def test_a_page_needs_no_series_but_ours(tmp_path, dropped):
    """Without `up` and `process_*` rules that go page as with them."""
    series = GATEWAY
    for name in dropped.split(" and "):
        series = without(series, name)
    assert not fired(tmp_path, series, "NetfilterConntrackDisabled", 89)
    assert fired(tmp_path, series, "NetfilterConntrackDisabled", 93)


def test_the_grace_after_a_start_needs_the_start(tmp_path):
    """A host that boots pages only where process_start_time_seconds is dropped."""
    assert not fired(tmp_path, BOOTED, "NetfilterConntrackDisabled", 2)
    assert fired(tmp_path, without(BOOTED, "process_"), "NetfilterConntrackDisabled", 2)


def test_a_host_that_does_not_answer_needs_up(tmp_path):
    """Without `up` nobody is told that an exporter is down."""
    series = {
        f"up{{{TARGET}}}": "1+0x59 0+0x179",
        f"netfilter_exporter_build_info{{{TARGET}}}": "1+0x59",
    }
    assert fired(tmp_path, series, "NetfilterExporterDown", 60)
    assert not fired(tmp_path, without(series, "up"), "NetfilterExporterDown", 60)


def machines(first, second, rules):
    """Return a target with NAT that is another machine after two hours, with `rules` from then."""
    named = 'netfilter_exporter_host_info{%s,machine="%s"}'
    series = {
        f"up{{{TARGET}}}": "1+0x479",
        f'netfilter_nat_rules{{{IPV4},backend="nftables",action="snat"}}': f"3+0x239 {rules}",
        f'netfilter_nat_readable{{{IPV4},backend="nftables"}}': "1+0x479",
        f"netfilter_conntrack_tracking{{{IPV4}}}": "1+0x479",
    }
    if first == second:
        return {**series, named % (TARGET, first): "1+0x479"}
    before, after = named % (TARGET, first), named % (TARGET, second)
    return {**series, before: "1+0x239 stale", after: "_x240 1+0x239"}


@pytest.mark.parametrize(
    ("first", "second", "rules", "told"),
    [
        ("a", "a", "0+0x239", {"critical", "warning"}),
        ("a", "b", "0+0x239", set()),
        ("a", "b", "3+0x189 0+0x49", {"critical", "warning"}),
        ("a", "b", "3+0x39 0+0x199", {"warning"}),
    ],
    ids=["the same", "an address used again", "with a past of its own", "of twenty minutes"],
)
@pytest.mark.parametrize("backwards", [False, True], ids=["", "backwards"])
def test_history_is_that_of_the_machine(tmp_path, first, second, rules, told, backwards):
    """Rules of a machine that had the address before make no page, its own past does."""
    series = machines(first, second, rules)
    asked = {"since": 120, "backwards": backwards}
    assert fired(tmp_path, series, "NetfilterNatRulesGone", 239, **asked) == told


def test_two_machines_that_answer_in_turn_are_one_target(tmp_path):
    """Their pages fire, and their history is that of the target."""
    series = without(machines("a", "a", "0+0x239"), "netfilter_exporter_host_info")
    for machine, values in ("a", "1 stale " * 240), ("b", "stale 1 " * 240):
        series[f'netfilter_exporter_host_info{{{TARGET},machine="{machine}"}}'] = values.strip()
    told = fired(tmp_path, series, "NetfilterNatRulesGone", 239, since=120)
    assert told == {"critical", "warning"}


def counting(per_second, replicas):
    """Return counters that rise `per_second`, as so many Prometheus servers scraped them."""
    names = ("drop", "insert_failed", "nat_collision", "invalid")
    return {
        f'netfilter_conntrack_{name}_total{{{TARGET},replica="{replica}"}}': (
            f"0+{30 * per_second * (2 if name == 'drop' else 1)}x119"
        )
        for name in names
        for replica in range(replicas)
    }


@pytest.mark.parametrize(
    ("alert", "below"),
    [
        ("NetfilterConntrackDropping", 0.02),
        ("NetfilterConntrackInsertFailing", 0.06),
        ("NetfilterNatPortsExhausted", 0.03),
        ("NetfilterConntrackInvalidPackets", 6),
    ],
)
def test_a_pair_of_servers_pages_what_one_would(tmp_path, alert, below):
    """Rates below a threshold are so too where both servers write into one storage."""
    assert not fired(tmp_path, counting(below, 1), alert, 40)
    assert not fired(tmp_path, counting(below, 2), alert, 40)
    assert fired(tmp_path, counting(2 * below, 2), alert, 40)
