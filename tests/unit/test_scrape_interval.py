"""scrape_interval.py: rules for targets that are scraped less often than once a minute."""

import pytest

from netfilter_exporter import assets, scrape_interval

RULES = assets.load_rules(assets.files()[assets.RULES])


@pytest.mark.parametrize("seconds", [15, 30, 60])
def test_up_to_a_minute_nothing_changes(seconds):
    """The rules are written for that."""
    assert assets.render_rules(RULES, assets.Overrides(scrape_interval=seconds)) == RULES


@pytest.mark.parametrize(
    ("seconds", "before", "after"),
    [
        (120, "last_over_time(x[3m])", "last_over_time(x[6m])"),
        (90, "rate(x_total[5m])", "rate(x_total[450s])"),
        (300, "increase(x_total[10m])", "increase(x_total[50m]) / 5"),
        (150, 'increase(x_total{a="b"}[10m]) > 2', 'increase(x_total{a="b"}[25m]) / 2.5 > 2'),
        (300, "avg_over_time(x_each10m[1d])", "avg_over_time(x_each10m[1d])"),
        (300, "last_over_time(x_each10m[9m50s])", "last_over_time(x_each10m[9m50s])"),
    ],
)
def test_windows_of_scrapes_grow(seconds, before, after):
    """By the interval; what rose is counted as before, and history stays as it is."""
    assert scrape_interval.in_query(before, seconds) == after


def test_a_selector_with_parentheses_is_counted_right(tmp_path):
    """What users choose does not hide a window that has to grow."""
    options = ["--selector", 'a=~"(b|c)"', "--scrape-interval", "2m"]
    assert assets.main([str(tmp_path), *options]) == 0
    text = (tmp_path / assets.RULES).read_text()
    assert 'netfilter_conntrack_early_drop_total{a=~"(b|c)"}[20m]) / 2' in text
    assert "[3m]" not in text


def test_alerts_wait_for_two_scrapes():
    """And go on for as many scrapes as before; groups are evaluated each minute."""
    rule = {"alert": "A", "expr": "x", "for": "1m", "keep_firing_for": "5m"}
    longer = {"alert": "B", "expr": "x", "for": "15m"}
    group = {"name": "g", "rules": [rule, longer]}
    assert scrape_interval.in_group(group, 60) == group
    assert scrape_interval.in_group(group, 150) == {
        "name": "g",
        "interval": "1m",
        "rules": [{**rule, "for": "150s", "keep_firing_for": "750s"}, longer],
    }
