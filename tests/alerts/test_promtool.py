"""promtool on the rules and their unit tests, in the versions that the rules are for."""

import concurrent.futures
import functools
import os
from pathlib import Path

import pytest

from netfilter_exporter import assets
from support import needs, promstack

ALERTS = Path(assets.folder(), "alerts").resolve()
TESTS = sorted((Path(__file__).parents[2] / "alerts" / "tests").glob("*_test.yml"))

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", params=promstack.SUITES)
def promtool(request):
    """promtool of a version; the test is skipped where it cannot be fetched."""
    with needs.packages():
        program = promstack.promtool(request.param)

    return functools.partial(promstack.run_promtool, program)


@pytest.fixture(scope="module")
def said_of_tests(promtool):
    """What promtool says of each file, all of them at a time: a minute of one core for each."""
    longest_first = sorted(TESTS, key=lambda file: -file.stat().st_size)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda file: promtool("test", "rules", file), longest_first)
        return dict(zip(longest_first, found))


def test_prometheus_loads_the_rules(promtool):
    """Each version loads the rules without a word against them."""
    code, said = promtool(
        "check", "rules", "--lint=all", "--lint-fatal", ALERTS / "netfilter.rules.yml"
    )
    assert code == 0, said
    assert "SUCCESS" in said


@pytest.mark.timeout(600)
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
