"""``netfilter_exporter assets``: what it writes, and what it puts in."""

import json
import re
from pathlib import Path

import pytest
import yaml

from netfilter_exporter import assets, cli

RULES = assets.load_rules(assets.files()[assets.RULES])


def test_everything_a_site_needs_is_written(tmp_path):
    """Rules, runbooks, the Alertmanager example, the manifest and the dashboards; no tests."""
    assert cli.main(["assets", str(tmp_path)]) == 0
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {assets.RULES, assets.MANIFEST, "alerts/alertmanager.example.yml"} <= written
    names = {rule["alert"] for rule in assets.rules_of(RULES) if "alert" in rule}
    assert {f"alerts/runbooks/{name}.md" for name in names} <= written
    assert not [path for path in written if "tests/" in path or path.endswith(".py")]


def test_without_options_files_are_as_they_are(tmp_path):
    """What nobody wants different is not touched, comments included."""
    assert assets.main([str(tmp_path)]) == 0
    for path, content in assets.files().items():
        assert (tmp_path / path).read_bytes() == content


def test_the_manifest_is_made_from_the_rules():
    """The committed manifest is what `assets .` writes: the same rules, for the operator."""
    assert assets.files()[assets.MANIFEST] == assets.manifest(RULES)
    manifest = yaml.safe_load(assets.files()[assets.MANIFEST])
    assert (manifest["apiVersion"], manifest["kind"]) == (
        "monitoring.coreos.com/v1",
        "PrometheusRule",
    )
    assert manifest["spec"] == RULES


def test_a_selector_goes_into_every_raw_series():
    """Raw series get the selector; recorded ones, texts and comments stay."""
    selector = 'cluster="a"'
    assert assets.with_selector("up == 0", selector) == 'up{cluster="a"} == 0'
    assert (
        assets.with_selector('sum by (job) (rate(netfilter_x_total{a="up"}[5m]))', selector)
        == 'sum by (job) (rate(netfilter_x_total{cluster="a",a="up"}[5m]))'
    )
    recorded = "job_instance_family:netfilter_nat_rules:sum > 0  # not netfilter_nat_rules"
    assert assets.with_selector(recorded, selector) == recorded


def test_rendered_rules_say_what_was_asked_for(tmp_path):
    """Selector, runbook address and threshold are in the rules and in the manifest."""
    command = ["--selector", 'env="p"', "--runbook-url", "https://r.example.org/x/"]
    command += ["--dashboard-url", "https://g.example.org/", "--label", "cluster"]
    assert assets.main([str(tmp_path), *command, "--threshold", "drops_5m=25"]) == 0
    rules = yaml.safe_load((tmp_path / assets.RULES).read_text())
    manifest = yaml.safe_load((tmp_path / assets.MANIFEST).read_text())
    assert manifest["spec"] == rules
    for rule in assets.rules_of(rules):
        raw = re.findall(
            r"\b(?<!:)(?:netfilter_\w+|up|process_start_time_seconds)\b(?!:).", rule["expr"]
        )
        assert all(series.endswith("{") for series in raw)
    by_name = {rule["alert"]: rule for rule in assets.rules_of(rules) if "alert" in rule}
    dropping = by_name["NetfilterConntrackDropping"]
    assert "> 25  #" in dropping["expr"]
    url = "https://r.example.org/x/NetfilterConntrackDropping.md"
    assert dropping["annotations"]["runbook_url"] == url
    board = "https://g.example.org/d/netfilter-host?var-job={{ $labels.job | urlquery }}&"
    assert dropping["annotations"]["dashboard_url"].startswith(board)
    cluster = "&var-cluster={{ $labels.cluster | urlquery }}"
    assert dropping["annotations"]["dashboard_url"].endswith(cluster)


def test_a_threshold_is_changed_everywhere_and_nothing_else_is():
    """Each threshold can be set, and only lines that name it change."""
    for name, default in assets.thresholds(RULES).items():
        for rule in assets.rules_of(RULES):
            lines = assets.with_thresholds(rule["expr"], {name: default + 1}).splitlines()
            for before, after in zip(rule["expr"].splitlines(), lines):
                assert (before != after) == before.endswith(f"# threshold {name}")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            ["table_warning_ratio=0.99"],
            "table_warning_ratio (0.99) is not below table_critical_ratio",
        ),
        (["ports_critical_per_second=0"], "is not below ports_critical_per_second (0)"),
    ],
)
def test_a_warning_comes_before_what_is_critical(tmp_path, capsys, settings, text):
    """Otherwise the one would never be seen without the other."""
    with pytest.raises(SystemExit):
        assets.main([str(tmp_path), *(f"--threshold={setting}" for setting in settings)])
    assert text in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_placeholder_is_told(tmp_path, capsys):
    """Who has not said where runbooks and dashboards are gets links that lead nowhere."""
    assert assets.main([str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "--runbook-url" in output
    assert "--dashboard-url" in output
    command = [str(tmp_path), "--runbook-url=https://w/r", "--dashboard-url=https://g"]
    assert assets.main(command) == 0
    assert "is a placeholder" not in capsys.readouterr().out


def test_runbook_addresses():
    """{alert} is replaced; without it the name of the file is added."""
    assert assets.runbook_url("https://w/{alert}?x=1", "A") == "https://w/A?x=1"
    assert assets.runbook_url("https://w/r/", "A") == "https://w/r/A.md"


def test_dashboards_get_the_selector():
    """Queries of panels and variables get the selector, other texts do not."""
    board = {"title": "up", "targets": [{"expr": "up"}], "list": [{"query": {"query": "up"}}]}
    rendered = assets.render_dashboard(json.dumps(board).encode(), assets.Overrides('a="b"'))
    assert json.loads(rendered) == {
        "title": "up",
        "targets": [{"expr": 'up{a="b"}'}],
        "list": [{"query": {"query": 'up{a="b"}'}}],
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--selector", "cluster=a"], "is not of the form"),
        (["--selector", ""], "is not of the form"),
        (["--selector", '} or vector(1) or up{a="b"'], "is not of the form"),
        (["--scrape-interval", "6m"], "'6m' is not a time such as 30s or 2m, up to 5m"),
        (["--scrape-interval", "0s"], "'0s' is not a time"),
        (["--scrape-interval", "60"], "'60' is not a time"),
        (["--label", "a-b"], "'a-b' is not the name of a label"),
        (["--label", "family"], "the rules already use the label 'family'"),
        (["--runbook-url", "wiki"], "is not an address"),
        (["--threshold", "drops_5m"], "is not of the form"),
        (["--threshold", "drops_5m=nan"], "is not of the form"),
        (["--threshold", "drops_5m=-1"], "is not of the form"),
        (["--threshold", "nothing=1"], "no threshold 'nothing'; there are: nat_role_share"),
    ],
)
def test_a_wrong_option_is_an_error_that_says_why(arguments, said, tmp_path, capsys):
    """Nothing is written, and the exit code is 2."""
    with pytest.raises(SystemExit) as ended:
        assets.main([str(tmp_path / "new"), *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path, capsys):
    """One line says why, and the exit code is 1."""
    place = Path(tmp_path, "file")
    place.touch()
    assert assets.main([str(place)]) == 1
    assert "file" in capsys.readouterr().err
