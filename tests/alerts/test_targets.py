"""Targets that come and go, and series that a site drops, through promtool."""

import json

import pytest

from netfilter_exporter import assets
from support import promstack, rule_tests

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


def firing(folder, series, alert, minute, rules=RULES):
    """Return whether promtool finds that `alert` fires at `minute`; samples are 30 s apart."""
    test = {
        "interval": "30s",
        "input_series": [{"series": each, "values": text} for each, text in series.items()],
        "alert_rule_test": [{"alertname": alert}],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": "{}", "value": 1}],
            }
        ],
    }
    (folder / "rules.json").write_text(json.dumps(rule_tests.needed(rules, test)))
    del test["alert_rule_test"]
    document = {"rule_files": ["rules.json"], "evaluation_interval": "30s", "tests": [test]}
    (folder / "test.json").write_text(json.dumps(document))
    code, said = promstack.run_promtool("promtool", "test", "rules", folder / "test.json")
    assert code == 0 or "got: nil" in said, said
    return code == 0


def test_a_target_that_left_is_told_where_that_is_asked_for(tmp_path):
    """removed_targets=1 makes a ticket of what discovery removed, for an hour; 0 does not."""
    told = assets.render_rules(RULES, assets.Overrides(thresholds={"removed_targets": 1}))
    assert not firing(tmp_path, LEFT, "NetfilterExporterDown", 140)
    assert firing(tmp_path, LEFT, "NetfilterExporterDown", 140, told)
    assert not firing(tmp_path, LEFT, "NetfilterExporterDown", 200, told)


@pytest.mark.parametrize("dropped", ["nothing", "up", "process_", "up and process_"])
def test_a_page_needs_no_series_but_ours(tmp_path, dropped):
    """Without `up` and `process_*` rules that go page as with them."""
    series = GATEWAY
    for name in dropped.split(" and "):
        series = without(series, name)
    assert not firing(tmp_path, series, "NetfilterConntrackDisabled", 89)
    assert firing(tmp_path, series, "NetfilterConntrackDisabled", 93)


def test_the_grace_after_a_start_needs_the_start(tmp_path):
    """A host that boots pages only where process_start_time_seconds is dropped."""
    assert not firing(tmp_path, BOOTED, "NetfilterConntrackDisabled", 2)
    assert firing(tmp_path, without(BOOTED, "process_"), "NetfilterConntrackDisabled", 2)


def test_a_host_that_does_not_answer_needs_up(tmp_path):
    """Without `up` nobody is told that an exporter is down."""
    series = {f"up{{{TARGET}}}": "1+0x59 0+0x179", f"netfilter_exporter_build_info{{{TARGET}}}": "1+0x59"}
    assert firing(tmp_path, series, "NetfilterExporterDown", 60)
    assert not firing(tmp_path, without(series, "up"), "NetfilterExporterDown", 60)
