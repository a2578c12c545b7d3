"""All rules of dashboard-linter, without an exclusion, and more of the kind."""

import re

import promql_parser
import pytest

import boards

WORDS = {"stat", "timeseries", "state-timeline", "table", "bargauge"}
UNITS = {"none", "short", "percentunit", "suffix:/s", "s"}
SELECTORS = ('job=~"$job"', 'instance=~"$instance"')
COUNTER = re.compile(r"_(total|sum|count|bucket)$")
#: Words of the exporter's own that end as counters do.
NOT_COUNTERS = {"netfilter_conntrack_count"}


def parsed(expr):
    return promql_parser.parse(boards.interpolate(expr, boards.ANY))


def selectors(expr):
    """Yield the text of each selector of a raw series, with variables, as it stands."""
    return re.findall(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}", expr)


def walk(node, parents=()):
    """Yield the nodes of an expression, and what is around them."""
    yield node, parents
    inside = (*parents, node)
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        child = getattr(node, name, None)
        if child is not None and not isinstance(child, (str, int, float)):
            yield from walk(child, inside)
    for child in getattr(node, "args", ()) or ():
        yield from walk(child, inside)


def queries(board):
    return [*boards.targets(board), *boards.annotations(board)]


def test_one_data_source_variable(board):
    """template-datasource-rule: one variable of that type, by its common name and label."""
    found = [v for v in board["templating"]["list"] if v["type"] == "datasource"]
    assert [(v["name"], v["label"], v["query"]) for v in found] == [
        ("datasource", "Data source", "prometheus")
    ]


@pytest.mark.parametrize(("name", "label"), [("job", "Job"), ("instance", "Instance")])
def test_variables_of_targets(board, name, label):
    """template-job-rule, template-instance-rule: queries, of several values, where all is .+"""
    variable = boards.variables(board)[name]
    assert variable["type"] == "query"
    assert variable["label"] == label
    assert variable["multi"] is True
    assert variable["allValue"] == ".+"
    assert variable["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_variables_are_refreshed_with_the_time_range(board):
    """template-on-time-change-reload-rule: a host that came up since is there to be chosen."""
    asked = [v for v in board["templating"]["list"] if v["type"] == "query"]
    assert {v["refresh"] for v in asked} == {2}


def test_variables_ask_valid_queries(board):
    """template-label-promql-rule: label_values of a valid selector."""
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert asked, variable["query"]
            parsed(asked[1])
            assert variable["definition"] == variable["query"]["query"]


def test_panels_have_a_data_source_that_is_chosen(board):
    """panel-datasource-rule: panels, targets and annotations ask what the variable says."""
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in boards.panels(board):
        assert panel["datasource"] == chosen
        assert all(target["datasource"] == chosen for target in panel["targets"])
    assert all(item["datasource"] == chosen for item in board["annotations"]["list"])


def test_panels_say_what_they_show(board):
    """panel-title-description-rule: a title and a description, and the type is one of ours."""
    for panel in boards.panels(board):
        assert panel["title"], panel["id"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["type"] in WORDS


def test_panels_have_targets(board):
    """panel-no-targets-rule."""
    assert all(panel["targets"] for panel in boards.panels(board))


def test_panels_have_units(board):
    """panel-units-rule: a unit that Grafana knows, or words for values."""
    for panel in boards.panels(board):
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]


def test_queries_are_valid(board):
    """target-promql-rule."""
    for target in queries(board):
        parsed(target.expr)


def test_every_selector_has_job_and_instance(board):
    """target-job-rule, target-instance-rule: no series of another job or host gets in."""
    for target in queries(board):
        found = selectors(target.expr)
        names = [n for n, _ in walk(parsed(target.expr)) if type(n).__name__ == "VectorSelector"]
        assert len(found) == len(names) > 0, target
        for name, inside in found:
            assert all(part in inside.split(", ") for part in SELECTORS), (target.owner, name)


def test_rates_are_taken_over_the_rate_interval(board):
    """target-rate-interval-rule: also those of changes()."""
    for target in queries(board):
        for window in re.findall(r"\b(?:i?rate|changes)\([^\[\]]*\[([^\]]*)\]", target.expr):
            assert window == "$__rate_interval", target


def test_counters_are_only_read_as_rates(board):
    """target-counter-agg-rule: no counter is shown or summed as it stands."""
    for target in queries(board):
        for node, parents in walk(parsed(target.expr)):
            if type(node).__name__ != "VectorSelector" or not COUNTER.search(node.name or ""):
                continue
            if node.name not in NOT_COUNTERS:
                calls = [p.func.name for p in parents if type(p).__name__ == "Call"]
                assert calls, (target.owner, node.name)
                assert calls[-1] in {"rate", "irate", "increase"}, (target.owner, node.name)


def test_nobody_edits_what_is_generated(board):
    """uneditable-dashboard-rule."""
    assert board["editable"] is False


def test_counters_are_found():
    """The check of counters sees one that is summed as it stands."""
    nodes = walk(parsed("sum(netfilter_conntrack_drop_total) / rate(a_total[5m])"))
    seen = {
        n.name: [type(p).__name__ for p in parents]
        for n, parents in nodes
        if type(n).__name__ == "VectorSelector"
    }
    assert "Call" not in seen["netfilter_conntrack_drop_total"]
    assert "Call" in seen["a_total"]
