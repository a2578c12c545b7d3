"""mixin.py: rules and dashboards as jsonnet. What jsonnet makes of it is in tests/alerts."""

import re

from netfilter_exporter import assets, mixin

WRITTEN = {
    path.rpartition("/")[2]: text.decode()
    for path, text in assets.render(assets.files(), assets.Overrides()).items()
    if path.startswith(f"{assets.MIXIN}/")
}


def test_the_mixin_is_written():
    """By the names that mixins have."""
    assert "mixin.libsonnet" in WRITTEN
    imported = set(re.findall(r"import '([^']+)'", WRITTEN["mixin.libsonnet"]))
    assert imported == WRITTEN.keys() - {"mixin.libsonnet"}


def test_every_threshold_is_a_setting():
    """Each has its default in the settings, and is read from them wherever it stands."""
    known = assets.thresholds(assets.load_rules(assets.files()[assets.RULES]))
    settings = dict(re.findall(r'"(\w+)": "([\d.]+)"', WRITTEN["config.libsonnet"]))
    assert {name: float(number) for name, number in settings.items()} == known
    used = re.findall(r"c\.thresholds\.(\w+)", WRITTEN["alerts.libsonnet"])
    used += re.findall(r"c\.thresholds\.(\w+)", WRITTEN["rules.libsonnet"])
    assert set(used) == known.keys()


def test_no_mark_is_left():
    """What stands for a setting while the mixin is made is in none of its files."""
    assert not re.search(r"[\x00-\x08]|\\u000", "".join(WRITTEN.values()))


def test_texts_are_strings_of_jsonnet():
    """Quotes, backslashes, lines and per cent signs stay as they are."""
    settings = mixin.Settings("", "", {})
    boards = {"a.json": {"title": '50 % of "a\\b"\n', "panels": [], "on": True, "empty": None}}
    text = mixin.files([], boards, settings)["dashboards.libsonnet"].decode()
    assert '"title": "50 % of \\"a\\\\b\\"\\n",' in text
    assert '"panels": [],' in text
    assert '"on": true,' in text
