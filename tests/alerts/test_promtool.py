"""promtool on the rules, in the versions that they are for, and on their tests in the outermost.

The tests take minutes of each version, though each is given only the rules that it needs: the two
versions take turns, and with --every each runs all of them.
"""

import concurrent.futures
import functools
import json
import os
from pathlib import Path

import pytest

from netfilter_exporter import assets
from support import needs, promstack, rule_tests

ALERTS = Path(assets.folder(), "alerts").resolve()
TESTS = sorted((Path(__file__).parents[2] / "alerts" / "tests").glob("*_test.yml"))

pytestmark = pytest.mark.e2e


def program(version):
    """Return promtool of a version as a function; skip the test where it cannot be fetched."""
    with needs.packages():
        return functools.partial(promstack.run_promtool, promstack.promtool(version))


@pytest.fixture(scope="module", params=promstack.SUITES)
def promtool(request):
    """promtool of each version."""
    return program(request.param)


OUTERMOST = [min(promstack.SUITES), max(promstack.SUITES)]


@pytest.fixture(scope="module", params=OUTERMOST)
def said_of_tests(request, tmp_path_factory):
    """What the oldest and the newest say of each file, all of them at a time."""
    promtool = program(request.param)
    turn = slice(OUTERMOST.index(request.param), None, len(OUTERMOST))
    chosen = slice(None) if request.config.getoption("--every") else turn
    folder = tmp_path_factory.mktemp("rules")
    rules = assets.load_rules((ALERTS / "netfilter.rules.yml").read_bytes())

    def said(file):
        tests = rule_tests.written(file, rules, folder)
        return promtool("test", "rules", *(tests[chosen] or tests))

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(TESTS, pool.map(said, TESTS)))


def test_prometheus_loads_the_rules(promtool):
    """Each version loads the rules without a word against them."""
    code, said = promtool(
        "check", "rules", "--lint=all", "--lint-fatal", ALERTS / "netfilter.rules.yml"
    )
    assert code == 0, said
    assert "SUCCESS" in said


@pytest.mark.timeout(3600)  # for all files of a version
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_the_alerts_do_what_their_tests_say(said_of_tests, file):
    """Each alert is silent, fires with these words and ends as written down, in each version."""
    code, said = said_of_tests[file]
    assert code == 0, said


RULES = 'backend="nftables",family="ipv4",action="masquerade"'
READABLE = 'backend="nftables",family="ipv4"'
#: Of a gateway of each cluster, by its name: one loses its rules after 75 minutes.
GATEWAYS = {
    "west": {"nat_rules": "3+0x149 0+0x60", "conntrack_tracking": "1+0x149 0+0x60"},
    "east": {"nat_rules": "3+0x210", "conntrack_tracking": "1+0x210"},
}
LABELS = {"nat_rules": RULES, "conntrack_tracking": 'family="ipv4"', "nat_readable": READABLE}


def clusters():
    """Return a test of promtool: both gateways have the same job and instance."""
    series = [
        {
            "series": f'netfilter_{name}{{cluster="{cluster}",job="n",instance="gw",{labels}}}',
            "values": values.get(name, "1+0x210"),
        }
        for cluster, values in GATEWAYS.items()
        for name, labels in LABELS.items()
    ]
    fires = {
        "labels": '{alertname="NetfilterConntrackDisabled", cluster="west", instance="gw"}',
        "value": 1,
    }
    asked = {
        "expr": 'count by (alertname, cluster, instance) (ALERTS{alertstate="firing"})',
        "eval_time": "1h25m",
        "exp_samples": [fires],
    }
    quiet = {"alertname": "NetfilterConntrackDisabled", "eval_time": "1h"}
    return {
        "interval": "30s",
        "input_series": series,
        "alert_rule_test": [quiet],
        "promql_expr_test": [asked],
    }


@pytest.mark.timeout(300)
def test_targets_of_the_same_name_are_told_apart(promtool, tmp_path):
    """One of two clusters loses its rules: it pages, and the other does not hide it."""
    test = clusters()
    rules = assets.load_rules((ALERTS / "netfilter.rules.yml").read_bytes())
    carried = assets.render_rules(rules, assets.Overrides(labels=("cluster",)))
    for name, each, expected in (("with", carried, 0), ("without", rules, 1)):
        (tmp_path / f"{name}.rules.json").write_text(json.dumps(rule_tests.needed(each, test)))
        document = {
            "rule_files": [f"{name}.rules.json"],
            "evaluation_interval": "30s",
            "tests": [test],
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
        code, said = promtool("test", "rules", tmp_path / f"{name}.json")
        assert code == expected, said


def test_rendered_rules_load(promtool, tmp_path):
    """What assets writes with every option is as good as what it is made from."""
    command = [str(tmp_path), "--selector", 'env=~"prod|test"', "--label=cluster"]
    command += [
        "--runbook-url",
        "https://runbooks.example.org/{alert}",
        "--threshold",
        "drops_5m=25",
    ]
    assert assets.main(command) == 0
    code, said = promtool("check", "rules", tmp_path / assets.RULES)
    assert code == 0, said
