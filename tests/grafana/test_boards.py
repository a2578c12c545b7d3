"""What the dashboards are: made by the builder, importable, and one with alerts and exporter."""

import json
import re
from pathlib import Path

import promql_parser
import pytest
import yaml

import boards
from netfilter_dashboards import queries
from netfilter_exporter import assets, collectors, exporter_metrics

ROOT = Path(__file__).parents[2]
RULES = yaml.safe_load((ROOT / "alerts" / "netfilter.rules.yml").read_text(encoding="utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
RECORDED = {
    rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule
}
#: What Prometheus itself and its alerts make.
FOREIGN = {"up", "ALERTS", "ALERTS_FOR_STATE"}


def test_generating_gives_the_same_bytes(generate):
    """The committed files are what the builder writes."""
    for name, text in generate.dashboards().items():
        assert (boards.FOLDER / name).read_text(encoding="utf-8") == text
    assert generate.main(["--check"]) == 0


def test_a_stale_file_is_found(generate, tmp_path, monkeypatch):
    """--check tells of a file that is not what the builder writes, and leaves it alone."""
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    (tmp_path / "netfilter-fleet.json").write_text("{}")
    assert generate.main(["--check"]) == 1
    assert (tmp_path / "netfilter-fleet.json").read_text() == "{}"
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_it_imports_everywhere(board):
    """Classic JSON of schema 39: a fixed uid, no id, and nothing that an import must fill in."""
    assert board["schemaVersion"] == 39
    assert re.fullmatch(r"netfilter-[a-z]{1,30}", board["uid"])
    assert not {"__inputs", "__requires", "id", "gnetId"} & set(board)
    assert "${DS_" not in json.dumps(board)
    assert isinstance(board["refresh"], str)


def test_panels_have_places(board):
    """No two panels overlap, none runs over the 24 columns, and no number is given twice."""
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in board["panels"]]
    assert numbers == sorted(set(numbers))


def test_titles_are_given_once(board):
    """A person can name a panel."""
    titles = [panel["title"] for panel in board["panels"]]
    assert len(titles) == len(set(titles))


def test_only_what_exists_is_asked(board):
    """Each name in a query is a metric of the exporter, a recorded series, or Prometheus' own."""
    rows = [metric for item in collectors.load().values() for metric in item.metrics]
    emitted = {f"netfilter_{metric.name}" for metric in rows} | _page_names()
    for target in [*boards.targets(board), *boards.annotations(board)]:
        for name in re.findall(r"([a-zA-Z_:][\w:]*)\{", target.expr):
            assert name in emitted | RECORDED | FOREIGN, (target.owner, name)


def test_what_alerts_read_is_on_a_panel():
    """A person who follows an alert to the dashboard finds each metric that it rests on."""
    recorded = {
        rule["record"]: rule["expr"]
        for group in RULES["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    read, waiting = set(), [rule["expr"] for rule in ALERTS]
    while waiting:
        expr = waiting.pop()
        names = set(re.findall(r"[a-zA-Z_:][\w:]*", re.sub(r"#.*|\"[^\"]*\"", "", expr)))
        waiting += [recorded.pop(name) for name in names & recorded.keys()]
        read |= {name for name in names if re.fullmatch(r"netfilter_\w+", name)}
    shown = {
        name
        for board in map(boards.load, boards.NAMES)
        for target in boards.targets(board)
        for name in re.findall(r"\bnetfilter_\w+", target.expr)
    }
    assert len(read) > 50
    assert read - shown == set()


def _page_names():
    text = Path(exporter_metrics.__file__).read_text(encoding="utf-8")
    return {f"netfilter_{name}" for name in re.findall(r'"([a-z_]+)"', text)}


def steps(board, title, column=None):
    """Return the thresholds of a panel by their colours, or of a column of a table."""
    (panel,) = (p for p in boards.panels(board) if p["title"] == title)
    config = panel["fieldConfig"]
    found = config["defaults"].get("thresholds")
    for override in config["overrides"]:
        for item in override["properties"]:
            name = (item["id"], override["matcher"]["options"])
            if column and name == ("thresholds", column):
                found = item["value"]
    return {step["color"]: step["value"] for step in found["steps"][1:]}


def alert_threshold(alert, severity):
    """Return the last number of an alert's expression that something is compared with."""
    (rule,) = (r for r in ALERTS if r["alert"] == alert and r["labels"]["severity"] == severity)
    named = re.findall(r">=? *([0-9.]+)\)? *# threshold", rule["expr"])
    return float((named or re.findall(r">=? *([0-9.]+)", rule["expr"]))[0])


FILLING = "NetfilterConntrackTableFilling"


@pytest.mark.parametrize(
    ("name", "title", "column", "color", "alert", "severity"),
    [
        ("netfilter-host", "Limit per bucket", None, "orange", "NetfilterConntrackHashTooSmall",
         "warning"),
        ("netfilter-host", "Table fill", None, "orange", FILLING, "warning"),
        ("netfilter-host", "Table fill", None, "red", FILLING, "critical"),
        ("netfilter-host", "Fill over time", None, "orange", FILLING, "warning"),
        ("netfilter-host", "Fill over time", None, "red", FILLING, "critical"),
        ("netfilter-fleet", "Fullest table", None, "red", FILLING, "critical"),
        ("netfilter-fleet", "Fullest tables", None, "orange", FILLING, "warning"),
        ("netfilter-fleet", "Table fill", None, "orange", FILLING, "warning"),
        ("netfilter-fleet", "Hosts", "Value #G", "orange", FILLING, "warning"),
        ("netfilter-fleet", "Hosts", "Value #G", "red", FILLING, "critical"),
        ("netfilter-fleet", "Hosts", "Value #H", "red", "NetfilterConntrackDropping", "critical"),
        ("netfilter-fleet", "Most drops in 5 minutes", None, "red", "NetfilterConntrackDropping",
         "critical"),
        ("netfilter-host", "Drops, 5 min", None, "red", "NetfilterConntrackDropping", "critical"),
        ("netfilter-host", "Drops within 5 minutes", None, "red", "NetfilterConntrackDropping",
         "critical"),
        ("netfilter-host", "Table fill of other namespaces", None, "orange",
         "NetfilterNetnsTableFilling", "warning"),
        ("netfilter-host", "Table fill of other namespaces", None, "red",
         "NetfilterNetnsTableFilling", "critical"),
        ("netfilter-host", "Drops in other namespaces within 5 minutes", None, "red",
         "NetfilterNetnsDropping", "critical"),
        ("netfilter-host", "Early drops within 10 minutes", None, "orange",
         "NetfilterConntrackEvicting", "warning"),
        ("netfilter-host", "Insert failures and NAT collisions", None, "orange",
         "NetfilterNatPortsExhausted", "warning"),
        ("netfilter-host", "Insert failures and NAT collisions", None, "red",
         "NetfilterNatPortsExhausted", "critical"),
        ("netfilter-host", "Invalid packets", None, "orange", "NetfilterConntrackInvalidPackets",
         "info"),
        ("netfilter-host", "Forwarded and not transmitted", None, "orange",
         "NetfilterNatTrafficDropped", "warning"),
        ("netfilter-host", "Refused within 10 minutes", None, "orange",
         "NetfilterNatInterfaceForwardingDisabled", "warning"),
    ],
)  # fmt: skip
def test_thresholds_are_those_of_the_alerts(name, title, column, color, alert, severity):
    """A panel turns orange or red where the alert of that severity begins."""
    found = steps(boards.load(name), title, column)
    assert found[color] == alert_threshold(alert, severity)


def test_states_are_told_in_words(board):
    """No state is told by colour alone: what is mapped has a text, the rest is a number."""
    for panel in boards.panels(board):
        config = panel["fieldConfig"]
        mappings = [*config["defaults"].get("mappings", [])]
        for override in config["overrides"]:
            mappings += [
                mapping
                for item in override["properties"]
                if item["id"] == "mappings"
                for mapping in item["value"]
            ]
        values = [mapping for mapping in mappings if mapping["type"] == "value"]
        for mapping in values:
            texts = [result["text"] for result in mapping["options"].values()]
            assert all(texts), panel["title"]
            assert len(texts) == len(set(texts)), panel["title"]
        if panel["type"] == "state-timeline":
            assert values, panel["title"]


def test_no_value_is_not_green(board):
    """Tiles and cells without a value are grey: Grafana gives them the colour of a good one."""
    for panel in boards.panels(board):
        config = panel["fieldConfig"]
        mapped = [config["defaults"].get("mappings", [])] if panel["type"] == "stat" else []
        if panel["type"] == "table":
            mapped += [
                item["value"]
                for override in config["overrides"]
                for item in override["properties"]
                if item["id"] == "mappings"
            ]
            assert len(mapped) == len(config["overrides"]), panel["title"]
        for mappings in mapped:
            assert mappings[-1]["options"]["match"] == "null+nan", panel["title"]
            assert mappings[-1]["options"]["result"]["color"] == "#808080"


def test_runbooks_are_where_the_alerts_say(board):
    """The variable of the runbooks is what the alert rules have, and the files are there."""
    base = boards.variables(board)["runbook"]
    for rule in ALERTS:
        url = rule["annotations"]["runbook_url"]
        assert url == f"{base['query']}/{rule['alert']}.md"
        assert (ROOT / "alerts" / "runbooks" / f"{rule['alert']}.md").exists()
    assert "${runbook}/${__data.fields.alertname}.md" in json.dumps(board)


def test_dashboards_lead_to_each_other(board):
    """They find each other by tag, and keep what was chosen."""
    assert board["tags"] == ["netfilter"]
    (link,) = (item for item in board["links"] if item["type"] == "dashboards")
    assert link["tags"] == ["netfilter"]
    assert link["includeVars"]
    assert link["keepTime"]


def test_the_fleet_leads_to_its_hosts():
    """A host's name in the fleet's table opens the dashboard of that host, at that time."""
    text = json.dumps(boards.load("netfilter-fleet"))
    uid = boards.load("netfilter-host")["uid"]
    assert (
        f"/d/{uid}?var-job=${{__data.fields.job}}&var-instance=${{__data.fields.instance}}" in text
    )


def test_alerts_are_marked_in_graphs(board):
    """Firing alerts are annotations, and of a host changes of its ruleset, too."""
    marked = {item["name"]: item["expr"] for item in board["annotations"]["list"]}
    assert any(re.search(r'ALERTS\{.*alertstate="firing"', expr) for expr in marked.values())
    if board["uid"] == "netfilter-host":
        assert "netfilter_nftables_generation" in marked["Firewall reloads"]


def test_the_host_opens_on_one_host():
    """The host's dashboard does not open on all hosts, and the fleet's does."""
    host = boards.variables(boards.load("netfilter-host"))["instance"]
    fleet = boards.variables(boards.load("netfilter-fleet"))["instance"]
    assert not host["includeAll"]
    assert fleet["includeAll"]
    assert fleet["current"]["value"] == ["$__all"]


def test_the_fleet_has_no_series_for_each_rule():
    """Of the fleet, nothing is asked by table, chain, interface, module or sysctl."""
    for target in boards.targets(boards.load("netfilter-fleet")):
        for labels in re.findall(r"\bby \(([^)]*)\)", target.expr):
            named = set(labels.split(", "))
            assert not named & {"table", "chain", "interface", "module", "name", "cpu"}, target


def _without_selectors(expression):
    """Return an expression as the rules write it: gauges over three minutes, no variable."""
    without = re.sub(r',? ?job=~"[^"]*", instance=~"[^"]*"', "", expression)
    without = re.sub(r"last_over_time\((\w+)\[3m\]\)", r"\1", re.sub(r"#.*", "", without))
    return re.sub(r"\s", "", without.replace("{}", ""))


def test_the_recorded_verdict_is_that_of_the_dashboards():
    """The fleet reads the verdict that is recorded, a host's dashboard asks for it."""
    rules = {r["record"]: r["expr"] for g in RULES["groups"] for r in g["rules"] if "record" in r}
    asked = queries.ALL.verdict
    forwarding = "job_instance_family:netfilter_forwarding_enabled:max"
    ipv4 = queries.metric("forwarding_enabled", 'family="ipv4"')
    recorded = {
        queries.DROPS: "job_instance:netfilter_conntrack_unplaced:increase5m",
        queries.by(queries.FAMILY, "max", ipv4): f'{forwarding}{{family="ipv4"}}',
        **{
            queries.by(queries.FAMILY, operator, queries.metric(name)): series
            for (operator, name), series in queries.RECORDED.items()
        },
    }
    for raw, name in recorded.items():
        asked = asked.replace(raw, name)
    assert _without_selectors(rules[queries.RECORDED_VERDICT]) == _without_selectors(asked)


def test_provisioning_is_valid():
    """The files of Grafana's provisioning are of its version 1, and name what they provision."""
    folder = boards.FOLDER / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())
    provider = yaml.safe_load((folder / "dashboards" / "netfilter.yml").read_text())
    assert source["apiVersion"] == provider["apiVersion"] == 1
    assert source["datasources"][0]["type"] == "prometheus"
    assert source["datasources"][0]["jsonData"]["httpMethod"] == "POST"
    assert provider["providers"][0]["type"] == "file"
    assert provider["providers"][0]["options"]["path"]


def test_assets_leave_it_valid(board):
    """With a selector put in by `assets`, every query of the exporter's has it and is valid."""
    overrides = assets.Overrides(selector='cluster="a"')
    rendered = json.loads(assets.render_dashboard(json.dumps(board).encode(), overrides))
    for before, after in zip(boards.targets(board), boards.targets(rendered), strict=False):
        promql_parser.parse(boards.interpolate(after.expr, boards.ANY))
        if "netfilter_" in before.expr.replace(":netfilter_", ""):
            assert 'cluster="a"' in after.expr
