"""Labels that distinguish targets besides `job` and `instance`, carried through what is shipped.

Where one Prometheus, or one Alertmanager, has the same job and instance in several clusters, the
rules must not mix them: each list of labels that begins with ``job`` gets the others too, so do
matchers of dashboards, and what Alertmanager compares.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

_LISTS = re.compile(r"\b(by|on)(\s*\(\s*)job\b")
_CHOSEN = 'job=~"$job"'  #: in the queries of dashboards
_QUOTED = re.compile(r"\bjob=%q")  #: in those of annotations, filled in by:
_ARGUMENTS = re.compile(r"(?<=` )\$labels\.job\b")
#: All that choose a job: a list of its values is chosen by what stands before it.
_JOBS = "label_values(netfilter_exporter_build_info, job)"
_EQUAL = re.compile(r"(\[(?:alertname, )?)cluster, job\b")


def in_query(text: str, labels: Sequence[str]) -> str:
    """Return the PromQL `text` with `labels` in each list and matcher of targets."""
    if not labels:
        return text
    names = "".join(f"{label}, " for label in labels)
    chosen = ", ".join(f'{label}=~"${label}"' for label in labels)
    text = _LISTS.sub(rf"\1\2{names}job", text)
    text = text.replace(_JOBS, _JOBS.replace(",", f"{{{chosen}}},"))
    return text.replace(_CHOSEN, f"{chosen}, {_CHOSEN}")


def in_annotation(text: str, labels: Sequence[str]) -> str:
    """Return the template `text` with `labels` in its queries."""
    quoted = "".join(f"{label}=%q," for label in labels)
    values = "".join(f"$labels.{label} " for label in labels)
    text = _QUOTED.sub(f"{quoted}job=%q", _ARGUMENTS.sub(f"{values}$labels.job", text))
    return in_query(text, labels)


def in_alertmanager(text: bytes, labels: Sequence[str]) -> bytes:
    """Return the example for Alertmanager, which has `cluster` already, with `labels`."""
    names = ", ".join(dict.fromkeys(["cluster", *labels]))
    return _EQUAL.sub(rf"\1{names}, job", text.decode()).encode()


def in_dashboard(board: dict[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """Return a dashboard with a variable for each of `labels`, in its links and legends too."""
    if not labels:
        return board
    board = _in_texts(board, labels)
    variables = board["templating"]["list"]
    job = next(number for number, each in enumerate(variables) if each["name"] == "job")
    variables[job:job] = [_variable(variables[job], labels, n) for n in range(len(labels))]
    return board


def _in_texts(node: Any, labels: Sequence[str]) -> Any:
    if isinstance(node, list):
        return [_in_texts(item, labels) for item in node]
    if isinstance(node, dict):
        return {key: _in_texts(value, labels) for key, value in node.items()}
    if not isinstance(node, str):
        return node
    links = "".join(f"var-{label}=${{__data.fields.{label}}}&" for label in labels)
    legends = "".join(f"{{{{{label}}}}} " for label in labels)
    node = node.replace("var-job=", f"{links}var-job=")
    return in_query(node.replace("{{instance}}", f"{legends}{{{{instance}}}}"), labels)


def _variable(job: dict[str, Any], labels: Sequence[str], number: int) -> dict[str, Any]:
    """Return the variable of a label, made from that of the job."""
    label = labels[number]
    before = ", ".join(f'{each}=~"${each}"' for each in labels[:number])
    query = f"label_values(netfilter_exporter_build_info{{{before}}}, {label})".replace("{}", "")
    variable = copy.deepcopy(job)
    variable.update(name=label, label=label.capitalize(), definition=query)
    variable["query"]["query"] = query
    return variable
