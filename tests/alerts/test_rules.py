"""What mixtool and pint would say of the rules, and whether the exporter has what they read."""

import datetime as dt
import re
from pathlib import Path

import promql_parser as promql
import pytest
import yaml

from netfilter_exporter import __version__, assets
from netfilter_exporter.check import flows, table
from netfilter_exporter.check.alerts import ALERTS as CHECKED
from support import alert_table, readme
from support import promql as trees

FOLDER = Path(assets.folder(), "alerts")
LOADED = assets.load_rules((FOLDER / "netfilter.rules.yml").read_bytes())
RULES = list(assets.rules_of(LOADED))
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDS = [rule for rule in RULES if "record" in rule]
TREES = {id(rule): promql.parse(rule["expr"]) for rule in RULES}
#: A scrape interval of a minute is the longest that is common.
SCRAPE = dt.timedelta(minutes=1)
SEVERITIES = {"critical", "warning", "info"}
#: Series that are read without a range: what ended must not count for another minute.
AT_ONCE = {
    *("ALERTS", "ALERTS_FOR_STATE", "netfilter_exporter_host_info"),
    *("netfilter_exporter_build_info", "netfilter_netns_info"),
}
#: Alerts about all hosts of a job.
FLEET = {"NetfilterFleetNatBroken", "NetfilterRulesVersionMismatch"}
#: Counts alerts that have waited.
DOES_NOT_WAIT = "NetfilterFleetNatBroken"


def _name(rule):
    return f"{rule.get('alert') or rule['record']}-{rule.get('labels', {}).get('severity', '')}"


def _known():
    """Return the labels of all series, recorded ones as their rules make them."""
    known = {**trees.metric_labels(), **trees.FOREIGN}
    for _ in range(6):  # recorded series are made of others, in any order
        for rule in RECORDS:
            known[rule["record"]] = trees.Labels(known).of(TREES[id(rule)])
    return known


KNOWN = _known()

every_rule = pytest.mark.parametrize("rule", RULES, ids=_name)
every_alert = pytest.mark.parametrize("rule", ALERTS, ids=_name)


class _Strict(yaml.SafeLoader):
    """Refuses a key that is given twice."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"twice in {node.start_mark}: {sorted(keys)}"
        return super().construct_mapping(node, deep)


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yml")), ids=lambda path: path.stem)
def test_no_key_is_given_twice(path):
    """YAML takes the last of two equal keys without a word; here there are none."""
    assert yaml.load(path.read_text(), _Strict)


def test_groups_are_those_that_are_promised():
    """A topic has groups of pages, tickets, samples, days and history, each of at most 20 rules."""
    assert max(len(group["rules"]) for group in LOADED["groups"]) <= 20
    intervals = {group["name"]: group.get("interval") for group in LOADED["groups"]}
    topics = ("nat", "matches", "flows", "conntrack", "namespaces", "exporter", "configuration")
    expected = {"netfilter-fleet": None, "netfilter-states": "2m"}
    for topic in topics:
        expected[f"netfilter-{topic}"] = "3m" if topic == "matches" else None
        expected[f"netfilter-{topic}-samples"] = "10m"
        expected[f"netfilter-{topic}-days"] = "30m"
        expected[f"netfilter-{topic}-history"] = "2m30s"
        if topic not in {"matches", "namespaces"}:
            expected[f"netfilter-{topic}-tickets"] = "3m"
    assert intervals == expected


def test_pages_are_evaluated_as_often_as_prometheus_does():
    """Critical alerts, and what they read of now, are in no group with an interval."""
    slow = {
        rule["record"]
        for group in LOADED["groups"]
        if "interval" in group and not group["name"].endswith("-history")
        for rule in group["rules"]
        if "record" in rule
    }
    for group in LOADED["groups"]:
        pages = [r for r in group["rules"] if r.get("labels", {}).get("severity") == "critical"]
        assert not ("interval" in group and pages)
        if "interval" not in group:
            for rule in group["rules"]:
                read = {selector.name for selector, _, _ in trees.selectors(TREES[id(rule)])}
                assert not read & slow, rule


def test_a_day_is_read_seldom():
    """To read a day is what costs most: each 30 minutes, or each ten for what a page waits for."""
    for group in LOADED["groups"]:
        for rule in group["rules"]:
            spans = [span for _, span, _ in trees.selectors(TREES[id(rule)]) if span]
            if max(spans, default=dt.timedelta()) >= dt.timedelta(days=1):
                assert group["name"].endswith(("-samples", "-days")), rule


def test_only_keys_that_prometheus_2_42_knows():
    """Later keys (labels of a group, query_offset, limit) would keep 2.42 from starting."""
    for group in LOADED["groups"]:
        assert group.keys() <= {"name", "interval", "rules"}
    for rule in ALERTS:
        assert rule.keys() <= {"alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
    for rule in RECORDS:
        assert rule.keys() == {"record", "expr"}


@every_alert
def test_an_alert_is_named_as_it_should(rule):
    """CamelCase, our prefix, at most 40 characters, and one of three severities alone."""
    assert re.fullmatch(r"Netfilter([A-Z][a-z]+)+", rule["alert"])
    assert len(rule["alert"]) <= 40
    assert set(rule["labels"]) == {"severity"}
    assert rule["labels"]["severity"] in SEVERITIES


@every_alert
def test_an_alert_waits(rule):
    """No alert fires on a single evaluation, and critical ones within two minutes of the fault.

    That of a fleet counts alerts that have waited.
    """
    if rule["alert"] == DOES_NOT_WAIT:
        assert "for" not in rule
        return
    waits = _seconds(rule["for"])
    assert waits >= 60
    if rule["labels"]["severity"] == "critical" and rule["alert"] != "NetfilterNatPortsExhausted":
        assert waits <= 60


def _seconds(text):
    number, unit = re.fullmatch(r"(\d+)([smh])", text).groups()
    return int(number) * {"s": 1, "m": 60, "h": 3600}[unit]


@every_alert
def test_annotations_say_what_and_what_to_do(rule):
    """The summary is a fixed sentence of at most 60 characters, the description names the host."""
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert re.fullmatch(r"[A-Z][^{}]{,58}\.", annotations["summary"])
    assert ("{{ $labels.instance }}" in annotations["description"]) != (rule["alert"] in FLEET)
    assert annotations["description"].endswith(".")
    assert annotations["runbook_url"].endswith(f"/runbooks/{rule['alert']}.md")
    job = "?var-job={{ $labels.job | urlquery }}"
    of_host = f"host{job}&var-instance={{{{ $labels.instance | urlquery }}}}"
    board = f"fleet{job}" if rule["alert"] in FLEET else of_host
    assert annotations["dashboard_url"].endswith(f"/d/netfilter-{board}")


def test_runbooks_have_one_address():
    """All runbook addresses have the same beginning, so that one option replaces it."""
    assert len({rule["annotations"]["runbook_url"].rpartition("/")[0] for rule in ALERTS}) == 1


@every_alert
def test_templates_use_labels_that_the_result_has(rule):
    """A label that the expression drops would be an empty place in the text."""
    inference = trees.Labels(KNOWN)
    labels = inference.of(TREES[id(rule)])
    used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["description"]))
    assert used <= labels | {"alertname"}


@every_alert
def test_values_are_written_for_people(rule):
    """What is divided or a rate is humanised; what is counted or compared need not be."""
    written = re.findall(r"\{\{ ([^}]*\$value[^}]*) \}\}", rule["annotations"]["description"])
    shown = [text for text in written if not text.startswith("if ")]
    if shown and any(map(trees.is_fraction, trees.values(TREES[id(rule)]))):
        assert all("humanize" in text or "printf" in text for text in shown)


@every_alert
def test_an_alert_compares(rule):
    """An expression without a comparison fires for whatever exists."""
    operators = [
        str(node.op)
        for node, _ in trees.walk(TREES[id(rule)])
        if isinstance(node, promql.BinaryExpr)
    ]
    assert {">", "<", ">=", "<=", "==", "!="} & set(operators)


def test_no_page_is_told_to_have_ended_while_its_host_is_down():
    """Each critical alert that fires goes on, with its labels, where its target does not answer."""
    for rule in ALERTS:
        if rule["labels"]["severity"] == "critical" and rule["alert"] not in FLEET:
            *_, held = re.split(r"\nor\n", rule["expr"])
            assert f'ALERTS{{alertname="{rule["alert"]}",alertstate="firing"' in held
            assert "job_instance:netfilter_target_unreachable:bool" in held
            labels = trees.Labels(KNOWN)
            assert labels.of(promql.parse(held)) == labels.of(TREES[id(rule)]), rule["alert"]
            shows = "$value" in rule["annotations"]["description"]
            assert shows == held.startswith("-max"), "a value that is not known is negative"


def test_no_rule_is_there_twice():
    """Names of recorded series, and expressions, are unique."""
    assert len({rule["record"] for rule in RECORDS}) == len(RECORDS)
    assert len({rule["expr"] for rule in RULES}) == len(RULES)


@every_rule
def test_series_and_labels_exist(rule):
    """What a rule reads is in the exporter's table, is recorded here, or is Prometheus' own."""
    for selector, _, _ in trees.selectors(TREES[id(rule)]):
        assert selector.name in KNOWN
        for matcher in selector.matchers.matchers:
            assert matcher.name in KNOWN[selector.name]


@every_rule
def test_joins_and_groupings_are_possible(rule):
    """Both sides of an operator have the labels that it matches on."""
    inference = trees.Labels(KNOWN)
    inference.of(TREES[id(rule)])
    assert not inference.problems


@every_rule
def test_targets_are_told_apart(rule):
    """Every result has job and instance: two hosts are never mixed, but by alerts of fleets."""
    told_apart = {"job"} if rule.get("alert") in FLEET else trees.TARGET
    assert trees.Labels(KNOWN).of(TREES[id(rule)]) >= told_apart


@every_rule
def test_raw_series_bridge_a_lost_scrape(rule):
    """A raw series is read over at least three scrapes, and never over a day."""
    for selector, span, _ in trees.selectors(TREES[id(rule)]):
        if ":" not in selector.name and selector.name not in AT_ONCE:
            assert span is not None
            assert 3 * SCRAPE <= span <= dt.timedelta(hours=1)


@every_rule
def test_what_is_scraped_twice_counts_once(rule):
    """Below a sum, a series of the exporter is reduced by max first, or divided by another sum.

    Else two Prometheus servers that write into one storage would double what is compared.
    """
    for node, above in trees.walk(TREES[id(rule)]):
        if not isinstance(node, promql.VectorSelector) or ":" in node.name:
            continue
        operators = [str(n.op) for n in above if isinstance(n, promql.AggregateExpr)]
        functions = {n.func.name for n in above if isinstance(n, promql.Call)}
        if "sum" in operators and not functions & {"count_over_time", "sum_over_time"}:
            assert operators[-1] == "max" or node.name == "netfilter_flows_new_total"


@every_rule
def test_counters_are_counted_and_gauges_are_not(rule):
    """rate and increase are for counters, and counters for nothing else."""
    for selector, _, function in trees.selectors(TREES[id(rule)]):
        counts = function in {"rate", "increase"}
        assert counts == selector.name.endswith("_total")


@every_rule
def test_history_is_read_from_recorded_series(rule):
    """A subquery has a step, and only recorded series in it."""
    for node, _ in trees.walk(TREES[id(rule)]):
        if isinstance(node, promql.SubqueryExpr):
            assert node.step
            assert all(":" in s.name for s, _, _ in trees.selectors(node))


@every_rule
def test_divisions_have_a_divisor(rule):
    """What is divided by is compared with 0 first: no NaN, no infinity."""
    for node, _ in trees.walk(TREES[id(rule)]):
        if isinstance(node, promql.BinaryExpr) and str(node.op) == "/":
            divisor = node.rhs.expr if isinstance(node.rhs, promql.ParenExpr) else node.rhs
            assert isinstance(divisor, promql.BinaryExpr)
            assert str(divisor.op) == ">"


@every_rule
def test_patterns_are_needed(rule):
    """A regular expression without any special character should be an equality."""
    for selector, _, _ in trees.selectors(TREES[id(rule)]):
        for matcher in selector.matchers.matchers:
            if "Re" in str(matcher.op):
                assert re.search(r"[|.*+?\[(]", matcher.value)


@every_rule
def test_the_fragile_is_left_out(rule):
    """topk and bottomk change what they return from one evaluation to the next."""
    for node, _ in trees.walk(TREES[id(rule)]):
        assert not (isinstance(node, promql.AggregateExpr) and "k" in str(node.op))


def test_alerts_are_those_that_check_knows():
    """The command and the rules know the same alerts of a host, at the same severities."""
    of_rules = {}
    for rule in ALERTS:
        of_rules.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    of_check = {alert.name: {s.name.lower() for s in alert.severities} for alert in CHECKED}
    assert of_rules.keys() - of_check.keys() == FLEET
    assert {name: of_rules[name] for name in of_check} == of_check


def test_the_rules_know_their_version():
    """They accept the exporter beside them, and its fixes, and no other version."""
    (rule,) = (r for r in ALERTS if r["alert"] == "NetfilterRulesVersionMismatch")
    (accepted,) = re.findall(r'version!~"(.*?)"', rule["expr"])
    major, minor, _ = __version__.split(".")
    assert re.fullmatch(accepted, __version__)
    assert re.fullmatch(accepted, f"{major}.{minor}.99")
    assert not re.fullmatch(accepted, f"{major}.{int(minor) + 1}.0")
    assert not re.fullmatch(accepted, f"{int(major) + 1}.{minor}.0")


def test_thresholds_are_those_of_check():
    """What the alerts and the command both judge, they judge alike."""
    thresholds = assets.thresholds(LOADED)
    assert thresholds["table_warning_ratio"] == table.FILLING
    assert thresholds["table_critical_ratio"] == table.FULL
    assert thresholds["entries_per_bucket"] == table.CHAIN_LENGTH
    assert thresholds["drops_5m"] == table.DROPS
    assert thresholds["insert_failed_per_second"] == table.FAILURES
    assert thresholds["invalid_per_second"] == table.INVALID
    assert thresholds["ports_warning_ratio"] == flows.PORTS_WARNING
    assert thresholds["ports_critical_ratio"] == flows.PORTS_CRITICAL


def test_every_alert_has_tests():
    """Each severity of each alert is seen silent and seen firing in the promtool tests."""
    silent, firing = set(), set()
    for path in sorted((Path(__file__).parents[2] / "alerts" / "tests").glob("*_test.yml")):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for check in test["alert_rule_test"]:
                for expected in check["exp_alerts"]:
                    firing.add((check["alertname"], expected["exp_labels"]["severity"]))
                if not check["exp_alerts"]:
                    silent.add(check["alertname"])
    wanted = {(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS}
    assert firing == wanted
    assert silent == {name for name, _ in wanted}


@pytest.mark.parametrize(
    "expr",
    [
        "max by (job, instance, famly) (last_over_time(netfilter_conntrack_tracking[3m]))",
        "netfilter_conntrack_tracking and netfilter_conntrack_present",
        "netfilter_conntrack_present and on (family) netfilter_conntrack_tracking",
        "netfilter_conntrack_entries / on (job, family) netfilter_conntrack_entries_limit",
    ],
)
def test_impossible_joins_are_noticed(expr):
    """The inference that the tests above lean on finds what can never match."""
    inference = trees.Labels(KNOWN)
    inference.of(promql.parse(expr))
    assert inference.problems


def test_the_table_lists_every_alert():
    """The one of alerts/README.md is made from the rules: after a change, `tests/run --update`."""
    assert readme.is_current("alerts", alert_table.alert_table(LOADED)), "run tests/run --update"
