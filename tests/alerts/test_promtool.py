"""promtool on the rules, in the versions that they are for, and on their tests in the outermost.

The tests take minutes of each version, though each is given only the rules that it needs.
"""

import concurrent.futures
import functools
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


@pytest.fixture(scope="module", params=[min(promstack.SUITES), max(promstack.SUITES)])
def said_of_tests(request, tmp_path_factory):
    """What the oldest and the newest say of each file, all of them at a time."""
    promtool = program(request.param)
    folder = tmp_path_factory.mktemp("rules")
    rules = assets.load_rules((ALERTS / "netfilter.rules.yml").read_bytes())

    def said(file):
        return promtool("test", "rules", *rule_tests.written(file, rules, folder))

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


def test_rendered_rules_load(promtool, tmp_path):
    """What assets writes with every option is as good as what it is made from."""
    command = [str(tmp_path), "--selector", 'cluster="a",env=~"prod|test"']
    command += [
        "--runbook-url",
        "https://runbooks.example.org/{alert}",
        "--threshold",
        "drops_5m=25",
    ]
    assert assets.main(command) == 0
    code, said = promtool("check", "rules", tmp_path / assets.RULES)
    assert code == 0, said
