"""Debian's jsonnet makes of the mixin what `netfilter_exporter assets` writes beside it."""

import json
import shutil
import subprocess

import pytest

from netfilter_exporter import assets
from support import needs

SELECTOR = """cluster="we'st",job=~"a|b\\\\d\""""
THRESHOLDS = {"table_warning_ratio": 0.7, "drops_5m": 25}
ADDRESS = "https://r.example.org/a%20b/"
OVERRIDES = assets.Overrides(selector=SELECTOR, runbook_url=ADDRESS, thresholds=THRESHOLDS)
CONFIG = f"""{{
  netfilterExporterSelector: {json.dumps(SELECTOR)},
  netfilterExporterRunbookURLPattern: 'https://r.example.org/a%%20b/%s.md',
  netfilterExporterThresholds+: {{ table_warning_ratio: '0.7', drops_5m: 25 }},
}}"""
WHOLE = """
local mixin = (import 'mixin.libsonnet') + { _config+:: %s };
{ [name]: mixin[name] for name in std.objectFieldsAll(mixin) if name[0] != '_' }
"""


def evaluated(folder, overrides, config="{}"):
    """Return what jsonnet makes of the mixin that is written with `overrides`, with settings."""
    if not shutil.which("jsonnet"):
        needs.lacks("missing: jsonnet", forced=needs.KERNEL)
    assets.write(str(folder), assets.render(assets.files(), overrides))
    command = ["jsonnet", "--jpath", str(folder / assets.MIXIN), "--exec", WHOLE % config]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("written", "config", "expected"),
    [
        (assets.Overrides(), "{}", assets.Overrides()),
        (assets.Overrides(), CONFIG, OVERRIDES),
        (OVERRIDES, "{}", OVERRIDES),
        (
            assets.Overrides(labels=("cluster", "site")),
            CONFIG,
            OVERRIDES._replace(labels=("cluster", "site")),
        ),
    ],
    ids=["defaults", "settings", "flags", "labels and settings"],
)
def test_the_mixin_is_what_assets_writes(tmp_path, written, config, expected):
    """The same rules and dashboards, whether flags of `assets` or settings want them different."""
    found = evaluated(tmp_path, written, config)
    rendered = assets.render(assets.files(), expected)
    groups = [*found["prometheusRules"]["groups"], *found["prometheusAlerts"]["groups"]]
    wanted = assets.load_rules(rendered[assets.RULES])["groups"]
    assert len(groups) == len(wanted)
    by_name = {group["name"]: group for group in groups}
    assert [by_name[group["name"]] for group in wanted] == wanted
    assert found["grafanaDashboards"] == {
        path.rpartition("/")[2]: json.loads(text)
        for path, text in rendered.items()
        if path.endswith(".json")
    }


def test_the_mixin_has_the_fields_of_mixins(tmp_path):
    """Those that tools for mixins ask for; groups without an alert are apart."""
    found = evaluated(tmp_path, assets.Overrides())
    assert found.keys() == {"prometheusAlerts", "prometheusRules", "grafanaDashboards"}
    for group in found["prometheusRules"]["groups"]:
        assert all("record" in rule for rule in group["rules"])
    for group in found["prometheusAlerts"]["groups"]:
        assert any("alert" in rule for rule in group["rules"])
