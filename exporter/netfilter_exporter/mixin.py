"""The rules and dashboards as a mixin: jsonnet, in which a site sets what it wants different.

The texts come with marks where the settings belong. https://monitoring.mixins.dev says which fields
a mixin has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

#: A matcher that stands for the selector; no text has such characters.
SELECTOR = "\x01"
_THRESHOLD, _RUNBOOK = "\x02", "\x03"
_SELECTORS = {f"{{{SELECTOR}}}": "c.alone", f"{SELECTOR},": "c.first"}
_MARK = re.compile(rf"({{{SELECTOR}}}|{SELECTOR},|{_THRESHOLD}\w+{_THRESHOLD}|{_RUNBOOK}\w+)")

_NOTE = "// Written by netfilter_exporter assets: change the settings, not this.\n"
_MIXIN = """\
(import 'config.libsonnet') +
(import 'alerts.libsonnet') +
(import 'rules.libsonnet') +
(import 'dashboards.libsonnet')
"""
_CONFIG = """\
{{
  _config+:: {{
    // Matchers for every selector of a raw series, such as 'cluster="west"'.
    netfilterExporterSelector: {},
    // %s stands for the name of an alert.
    netfilterExporterRunbookURLPattern: {},
    // As texts: jsonnet writes the number 0.1 as 0.10000000000000001.
    netfilterExporterThresholds: {},
  }},

  // What the texts of rules and dashboards are made with.
  _netfilterExporter:: {{
    local config = $._config,
    local selector = config.netfilterExporterSelector,
    alone: if selector == '' then '' else '{{' + selector + '}}',
    first: if selector == '' then '' else selector + ',',
    thresholds: config.netfilterExporterThresholds,
    runbook(alert): config.netfilterExporterRunbookURLPattern % alert,
  }},
}}
"""


class Settings(NamedTuple):
    """What the settings of the mixin are where a site sets nothing."""

    selector: str
    runbook_url: str  #: with %s in place of the alert's name
    thresholds: Mapping[str, str]


def threshold(name: str) -> str:
    """Return the mark that stands for a threshold."""
    return f"{_THRESHOLD}{name}{_THRESHOLD}"


def runbook(alert: str) -> str:
    """Return the mark that stands for the address of a runbook."""
    return f"{_RUNBOOK}{alert}"


def files(
    groups: Sequence[Mapping[str, Any]], boards: Mapping[str, Any], settings: Settings
) -> dict[str, bytes]:
    """Return each file of the mixin, by name; groups and boards hold marks."""
    # Recording rules that alerts of the same group read come before them: the group stays whole.
    alerts = [group for group in groups if any("alert" in rule for rule in group["rules"])]
    rules = [group for group in groups if group not in alerts]
    texts = {
        "mixin.libsonnet": _NOTE + _MIXIN,
        "config.libsonnet": _NOTE + _CONFIG.format(*(_jsonnet(each, "    ") for each in settings)),
        "alerts.libsonnet": _file("prometheusAlerts", {"groups+": alerts}),
        "rules.libsonnet": _file("prometheusRules", {"groups+": rules}),
        "dashboards.libsonnet": _file("grafanaDashboards", boards),
    }
    return {name: text.encode() for name, text in texts.items()}


def _file(field: str, content: Any) -> str:
    text = _jsonnet(content, "  ")
    return f"{_NOTE}{{\n  local c = $._netfilterExporter,\n  {field}+:: {text},\n}}\n"


def _jsonnet(node: Any, indent: str) -> str:
    """Return a value as jsonnet, whose strings are JSON's."""
    inner = indent + "  "
    if isinstance(node, Mapping) and node:
        fields = (f"{inner}{_key(key)}: {_jsonnet(value, inner)},\n" for key, value in node.items())
        return f"{{\n{''.join(fields)}{indent}}}"
    if isinstance(node, list) and node:
        items = (f"{inner}{_jsonnet(value, inner)},\n" for value in node)
        return f"[\n{''.join(items)}{indent}]"
    if isinstance(node, str) and _MARK.search(node):
        return " + ".join(_terms(node))
    return json.dumps(node, ensure_ascii=False)


def _key(name: str) -> str:
    """Return the name of a field; one with a plus is added to the same field of other mixins."""
    plain = name.rstrip("+")
    return json.dumps(plain) + name[len(plain) :]


def _terms(text: str) -> Iterator[str]:
    """Yield what is added up to a text with marks."""
    for part in filter(None, _MARK.split(text)):
        if part[0] == _THRESHOLD:
            yield f"c.thresholds.{part.strip(_THRESHOLD)}"
        elif part[0] == _RUNBOOK:
            yield f"c.runbook({json.dumps(part[1:])})"
        else:
            yield _SELECTORS.get(part) or json.dumps(part, ensure_ascii=False)
