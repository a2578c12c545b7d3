"""``netfilter_exporter assets DIR``: the alerts, runbooks and dashboards that come with it.

What a site wants different is put in while they are written, so that nobody edits them by hand:
a selector for every series, labels of its targets, thresholds, and where runbooks and Grafana are.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from netfilter_exporter import __version__, asset_flags, mixin, scrape_interval, target_labels

RULES = "alerts/netfilter.rules.yml"
MANIFEST = "alerts/prometheus-operator/netfilter.prometheusrule.yml"
ALERTMANAGER = "alerts/alertmanager.example.yml"
MIXIN = "alerts/mixin"
#: Not for users: tests of the rules, and what builds the dashboards.
_INTERNAL = re.compile(r"^alerts/tests/|^grafana/.*\.py$|__pycache__")

#: Series that do not begin with our prefix and that the rules read.
_FOREIGN = frozenset({"up", "process_start_time_seconds"})
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|#[^\n]*|([a-zA-Z_:][a-zA-Z0-9_:]*)(\s*\{)?')
#: A number, and the comment behind it in the rules that gives it a name.
_THRESHOLD = re.compile(r"(\d+(?:\.\d+)?)(\)?[ \t]*# threshold (\w+))")


class Overrides(NamedTuple):
    """What is to be put into the files; nothing: they are written as they are."""

    selector: str = ""
    runbook_url: str = ""
    dashboard_url: str = ""
    thresholds: Mapping[str, float] = {}
    labels: Sequence[str] = ()  #: that distinguish targets, see target_labels
    scrape_interval: int = scrape_interval.USUAL  #: seconds


def folder() -> str:
    """Return where the files are: in the installed package, or by symbolic link in the tree."""
    return os.path.dirname(os.path.abspath(__file__))


def files() -> dict[str, bytes]:
    """Return the content of every file, by its path below the folder."""
    found = {}
    for top in ("alerts", "grafana"):
        for path in _walk(os.path.join(folder(), top), top):
            if not _INTERNAL.search(path):
                with open(os.path.join(folder(), path), "rb") as file:
                    found[path] = file.read()
    return found


def _walk(place: str, name: str) -> Iterator[str]:
    for entry in sorted(os.listdir(place)) if os.path.isdir(place) else ():
        inner, path = os.path.join(place, entry), f"{name}/{entry}"
        if os.path.isdir(inner):
            yield from _walk(inner, path)
        else:
            yield path


def load_rules(text: bytes) -> dict[str, Any]:
    """Return the rules as Prometheus sees them."""
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def rules_of(loaded: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each rule of every group."""
    for group in loaded["groups"]:
        yield from group["rules"]


def thresholds(loaded: Mapping[str, Any]) -> dict[str, float]:
    """Return the thresholds that can be set, by name, with their defaults."""
    return {
        name: float(number)
        for rule in rules_of(loaded)
        for number, _, name in _THRESHOLD.findall(rule["expr"])
    }


def with_selector(expr: str, selector: str) -> str:
    """Return the PromQL `expr` with `selector` in every selector of a raw series.

    Recording rules are made of selected series, and are read as they are.
    """

    def select(match: re.Match[str]) -> str:
        name, brace = match[1], match[2]
        if not name or not (name in _FOREIGN or _is_ours(name)):
            return match[0]
        return f"{name}{{{selector}," if brace else f"{name}{{{selector}}}"

    return _TOKEN.sub(select, expr) if selector else expr


def _is_ours(name: str) -> bool:
    return name.startswith("netfilter_") and ":" not in name


def with_thresholds(expr: str, wanted: Mapping[str, float]) -> str:
    """Return the PromQL `expr` with the thresholds that are wanted."""

    def replace(match: re.Match[str]) -> str:
        number = f"{wanted[match[3]]:.12g}" if match[3] in wanted else match[1]
        return number + match[2]

    return _THRESHOLD.sub(replace, expr)


def render_rules(loaded: dict[str, Any], overrides: Overrides) -> dict[str, Any]:
    """Return the rules with the overrides put in."""
    groups = [
        {**group, "rules": [_render_rule(rule, overrides) for rule in group["rules"]]}
        for group in loaded["groups"]
    ]
    return {"groups": [scrape_interval.in_group(g, overrides.scrape_interval) for g in groups]}


def _render_rule(rule: dict[str, Any], overrides: Overrides) -> dict[str, Any]:
    expr = scrape_interval.in_query(rule["expr"], overrides.scrape_interval)
    expr = with_thresholds(with_selector(expr, overrides.selector), overrides.thresholds)
    rendered = {**rule, "expr": target_labels.in_query(expr, overrides.labels)}
    if "alert" in rule:
        annotations = {
            name: target_labels.in_annotation(text, overrides.labels)
            for name, text in rule["annotations"].items()
        }
        if overrides.runbook_url:
            annotations["runbook_url"] = runbook_url(overrides.runbook_url, rule["alert"])
        annotations["dashboard_url"] = dashboard_url(annotations["dashboard_url"], overrides)
        rendered["annotations"] = annotations
    return rendered


def runbook_url(base: str, alert: str) -> str:
    """Return the address of a runbook: {alert} is replaced, or else ALERT.md appended."""
    return base.replace("{alert}", alert) if "{alert}" in base else f"{base.rstrip('/')}/{alert}.md"


def dashboard_url(template: str, overrides: Overrides) -> str:
    """Return the address of an alert's dashboard, with a variable for each label of targets."""
    base, path = template.split("/d/")
    if overrides.dashboard_url:
        base = overrides.dashboard_url.rstrip("/")
    more = (f"&var-{label}={{{{ $labels.{label} | urlquery }}}}" for label in overrides.labels)
    return f"{base}/d/{path}{''.join(more)}"


def manifest(loaded: Mapping[str, Any]) -> bytes:
    """Return the rules as a PrometheusRule for the Prometheus operator."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "netfilter-exporter",
            "labels": {"app.kubernetes.io/name": "netfilter-exporter"},
        },
        "spec": {"groups": loaded["groups"]},
    }
    return _dump(resource, "Made from netfilter.rules.yml: do not edit.")


def render_dashboard(text: bytes, overrides: Overrides) -> bytes:
    """Return a dashboard with the selector and the labels in every query of it."""
    board = _render_json(json.loads(text), overrides)
    board = target_labels.in_dashboard(board, overrides.labels)
    return (json.dumps(board, indent=2, ensure_ascii=False) + "\n").encode()


def _render_json(node: Any, overrides: Overrides) -> Any:
    if isinstance(node, list):
        return [_render_json(item, overrides) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: with_selector(
            scrape_interval.in_query(value, overrides.scrape_interval), overrides.selector
        )
        if key in {"expr", "query", "definition"} and isinstance(value, str)
        else _render_json(value, overrides)
        for key, value in node.items()
    }


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _dump(data: Any, comment: str) -> bytes:
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
    return f"# {comment}\n{text}".encode()


def render(found: Mapping[str, bytes], overrides: Overrides) -> dict[str, bytes]:
    """Return the files with the overrides put in."""
    rendered = dict(found)
    if overrides != Overrides():
        rules = render_rules(load_rules(found[RULES]), overrides)
        rendered[RULES] = _dump(rules, f"Written by netfilter_exporter {__version__} assets.")
        for path, text in found.items():
            if path.endswith(".json"):
                rendered[path] = render_dashboard(text, overrides)
        rendered[ALERTMANAGER] = target_labels.in_alertmanager(
            found[ALERTMANAGER], overrides.labels
        )
    rendered[MANIFEST] = manifest(load_rules(rendered[RULES]))
    return {**rendered, **_render_mixin(found, overrides)}


def _render_mixin(found: Mapping[str, bytes], overrides: Overrides) -> dict[str, bytes]:
    """Return the mixin; the overrides are the defaults of its settings."""
    loaded = load_rules(found[RULES])
    marked = overrides._replace(
        selector=mixin.SELECTOR, runbook_url=mixin.runbook("{alert}"), thresholds={}
    )
    groups = render_rules(loaded, marked)["groups"]
    for rule in rules_of({"groups": groups}):
        rule["expr"] = _THRESHOLD.sub(
            lambda match: mixin.threshold(match[3]) + match[2], rule["expr"]
        )
    boards = {
        path.rpartition("/")[2]: json.loads(render_dashboard(text, marked))
        for path, text in found.items()
        if path.endswith(".json")
    }
    contents = mixin.files(groups, boards, _settings(loaded, overrides))
    return {f"{MIXIN}/{name}": content for name, content in contents.items()}


def _settings(loaded: Mapping[str, Any], overrides: Overrides) -> mixin.Settings:
    numbers = {**thresholds(loaded), **overrides.thresholds}
    rule = next(rule for rule in rules_of(loaded) if "alert" in rule)
    address = rule["annotations"]["runbook_url"].replace(rule["alert"], "{alert}")
    return mixin.Settings(
        overrides.selector,
        # A % of an address is doubled, because jsonnet formats it.
        runbook_url((overrides.runbook_url or address).replace("%", "%%"), "%s"),
        {name: f"{number:.12g}" for name, number in numbers.items()},
    )


def write(directory: str, contents: Mapping[str, bytes]) -> None:
    """Write the files below `directory`, which is made; raises OSError."""
    for path, content in contents.items():
        target = os.path.join(directory, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(content)


def main(argv: Sequence[str]) -> int:
    """Write the files, and return the exit code."""
    found = files()
    known = thresholds(load_rules(found[RULES]))
    parser = asset_flags.parser(known, _labels_of_rules())
    arguments = parser.parse_args(argv)
    wanted = dict(arguments.thresholds)
    if unknown := sorted(wanted.keys() - known.keys()):
        parser.error(f"no threshold {unknown[0]!r}; there are: {', '.join(known)}")
    if order := _out_of_order({**known, **wanted}):
        parser.error(order)
    overrides = Overrides(
        arguments.selector or "",
        arguments.runbook_url or "",
        arguments.dashboard_url or "",
        wanted,
        tuple(arguments.labels),
        arguments.scrape_interval,
    )
    contents = render(found, overrides)
    try:
        write(arguments.directory, contents)
    except OSError as error:
        sys.stderr.write(f"{parser.prog}: {error}\n")
        return 1
    sys.stdout.write(f"wrote {len(contents)} files below {arguments.directory}\n")
    for name in ("runbook_url", "dashboard_url"):
        if not getattr(arguments, name):
            sys.stdout.write(f"their {name} is a placeholder: see --{name.replace('_', '-')}\n")
    return 0


def _out_of_order(numbers: Mapping[str, float]) -> str:
    """Return which threshold of a warning is not below that of the critical alert, or nothing."""
    for name, number in numbers.items():
        critical = name.replace("_warning_", "_critical_")
        if critical != name and number >= numbers[critical]:
            return f"threshold {name} ({number:g}) is not below {critical} ({numbers[critical]:g})"
    return ""


def _labels_of_rules() -> frozenset[str]:
    """Return the labels that the rules reduce series to, or set."""
    lists = re.findall(r"\b(?:by|on)\s*\(([^()]*)\)", files()[RULES].decode())
    return frozenset(re.findall(r"\w+", " ".join(lists))) | {"alertname", "severity"}
