"""Labels that tell targets apart, in all that `assets` writes."""

import json
import re

import pytest
import yaml

from netfilter_exporter import assets, target_labels

LABELS = ("region", "cluster")


@pytest.fixture(scope="module")
def written():
    """The files for targets in clusters of several regions."""
    return assets.render(assets.files(), assets.Overrides(labels=LABELS))


def test_each_list_of_the_rules_has_them(written):
    """What the rules reduce to job and instance, or join by them, goes by the labels too."""
    before, after = (assets.load_rules(f[assets.RULES]) for f in (assets.files(), written))
    for old, new in zip(assets.rules_of(before), assets.rules_of(after)):
        for text in (new["expr"], *new.get("annotations", {}).values()):
            lists = re.findall(r"\b(?:by|on)\s*\(([^()]*)\)", text)
            apart = [names for names in lists if "job" in names]
            assert all(names.startswith("region, cluster, job") for names in apart)
        assert new["expr"].replace("region, cluster, ", "") == old["expr"]


def test_queries_of_annotations_choose_one_target(written):
    """They are filled in with the labels of the alert, as many as they have places for."""
    rules = list(assets.rules_of(assets.load_rules(written[assets.RULES])))
    texts = [rule["annotations"]["description"] for rule in rules if "alert" in rule]
    queries = [found for text in texts for found in re.findall(r"printf `(.*?)`([^|]*)\|", text)]
    assert queries
    for query, arguments in queries:
        assert "{region=%q,cluster=%q,job=%q" in query
        assert re.findall(r"\$labels\.(\w+)", arguments) == re.findall(r"(\w+)=%q", query)


@pytest.mark.parametrize("name", ["fleet", "host"])
def test_dashboards_choose_by_them(written, name):
    """A variable each before that of the job, and every query, link and legend has them."""
    text = written[f"grafana/netfilter-{name}.json"].decode()
    board = json.loads(text)
    variables = {each["name"]: each for each in board["templating"]["list"]}
    assert list(variables)[1:5] == [*LABELS, "job", "instance"]
    assert variables["cluster"]["query"]["query"] == (
        'label_values(netfilter_exporter_build_info{region=~"$region"}, cluster)'
    )
    assert text.count('job=~\\"$job') == text.count('cluster=~\\"$cluster\\", job=~\\"$job')
    assert text.count("var-job=") == text.count("var-cluster=${__data.fields.cluster}&var-job=")
    assert text.count("{{instance}}") == text.count("{{region}} {{cluster}} {{instance}}")
    assert not re.search(r"(?:by|on) \((?!region)[^()]*instance", text)


def test_alertmanager_compares_them(written):
    """`cluster` is compared anyway; others stand beside it."""
    config = yaml.safe_load(written[assets.ALERTMANAGER])
    assert config["route"]["group_by"] == ["alertname", "cluster", "region", "job", "instance"]
    for row in config["inhibit_rules"]:
        of_fleet = "NetfilterFleetNatBroken" in row["source_matchers"][0]
        apart = ["cluster", "region", "job", *([] if of_fleet else ["instance"])]
        assert set(apart) <= set(row["equal"])


def test_without_them_nothing_is_changed():
    """A query of one cluster stays as it is."""
    query = 'sum by (job, instance) (x{job=~"$job"})'
    assert target_labels.in_query(query, ()) == target_labels.in_annotation(query, ()) == query
