"""The rules as trees: selectors, and the labels that the result of an expression can have."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser as promql

from netfilter_exporter import collectors, exporter_metrics, process

#: What Prometheus adds to each series of a target.
TARGET = frozenset({"job", "instance"})
#: Series that are not ours, with their labels.
FOREIGN: Mapping[str, frozenset[str]] = {
    "up": TARGET,
    # With the labels of each alert.
    "ALERTS": TARGET
    | {
        "alertname",
        "alertstate",
        "severity",
        "family",
        "capability",
        "protocol",
        "address",
        "netns",
    },
    "ALERTS_FOR_STATE": TARGET | {"alertname", "severity"},
}

_WRAPPING = (promql.AggregateExpr, promql.ParenExpr, promql.UnaryExpr, promql.SubqueryExpr)
#: Operators whose result has the value and the labels of the left side.
_KEEPING = frozenset({"and", "unless", ">", "<", ">=", "<=", "==", "!="})


def metric_labels() -> dict[str, frozenset[str]]:
    """Return the labels of every metric of the exporter, by its full name."""
    rows: list[Any] = [*exporter_metrics.ROWS, exporter_metrics.TEXTFILE_ROW, *process.ROWS]
    for collector in collectors.load().values():
        rows += collector.metrics
    found: dict[str, frozenset[str]] = {}
    for row in rows:
        found[row.full_name] = found.get(row.full_name, frozenset()) | frozenset(row.labels)
    return {name: labels | TARGET for name, labels in found.items()}


def walk(node: Any, *above: Any) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield each node of a tree with those above it, the nearest last."""
    yield node, above
    for child in _children(node):
        yield from walk(child, *above, node)


def _children(node: Any) -> Iterator[Any]:
    if isinstance(node, promql.BinaryExpr):
        yield from (node.lhs, node.rhs)
    elif isinstance(node, promql.Call):
        yield from node.args
    elif isinstance(node, promql.MatrixSelector):
        yield node.vector_selector
    elif isinstance(node, _WRAPPING):
        yield node.expr


def selectors(tree: Any) -> Iterator[tuple[Any, dt.timedelta | None, str]]:
    """Yield each selector, its range if it has one, and the function that is nearest to it."""
    for node, above in walk(tree):
        if isinstance(node, promql.VectorSelector):
            inside = above[-1] if above else None
            span = inside.range if isinstance(inside, promql.MatrixSelector) else None
            calls = [parent.func.name for parent in above if isinstance(parent, promql.Call)]
            yield node, span, calls[-1] if calls else ""


def values(node: Any) -> Iterator[Any]:
    """Yield the parts of a tree that the value of its result comes from."""
    if isinstance(node, promql.ParenExpr):
        yield from values(node.expr)
    elif isinstance(node, promql.BinaryExpr) and str(node.op) in _KEEPING:
        yield from values(node.lhs)
    elif isinstance(node, promql.BinaryExpr) and str(node.op) == "or":
        yield from (*values(node.lhs), *values(node.rhs))
    else:
        yield node


def is_fraction(value: Any) -> bool:
    """Return whether a value is not a whole number: a ratio, a rate, a length of time."""
    for node, _ in walk(value):
        if isinstance(node, promql.BinaryExpr) and str(node.op) in {"/", "-"}:
            return True
        if isinstance(node, promql.Call) and node.func.name in {"rate", "increase"}:
            return True
        if isinstance(node, promql.VectorSelector) and ":ratio" in (node.name or ""):
            return True
    return False


class Labels:
    """Infers the labels of results; `problems` are joins and groupings that cannot be."""

    def __init__(self, known: Mapping[str, frozenset[str]]) -> None:
        self.known = dict(known)
        self.problems: list[str] = []

    def of(self, node: Any) -> frozenset[str] | None:
        """Return the labels of the result of a tree, None for a number."""
        if isinstance(node, promql.VectorSelector):
            return self.known.get(node.name or "", TARGET)
        if isinstance(node, promql.AggregateExpr):
            return self._aggregate(node)
        if isinstance(node, promql.BinaryExpr):
            return self._binary(node)
        results = [self.of(child) for child in _children(node)]
        return next((labels for labels in results if labels is not None), None)

    def _aggregate(self, node: Any) -> frozenset[str]:
        inner = self.of(node.expr) or frozenset()
        by = frozenset(node.modifier.labels)
        if by - inner:
            self.problems.append(f"{node.expr.prettify()} has no {sorted(by - inner)}")
        return by

    def _binary(self, node: Any) -> frozenset[str] | None:
        left, right = self.of(node.lhs), self.of(node.rhs)
        if left is None or right is None:
            return right if left is None else left
        matching = node.modifier.matching if node.modifier else None
        if matching is None:
            # Of `or`, sides with other labels are other alerts.
            if left != right and str(node.op) != "or":
                self.problems.append(f"{sorted(left)} never match {sorted(right)}: {node.op}")
        else:
            on = frozenset(matching.labels)
            for side in (left, right):
                if on - side:
                    self.problems.append(f"on {sorted(on)}, but there is only {sorted(side)}")
            if node.modifier.card == promql.VectorMatchCardinality.ManyToOne:
                return left | frozenset(node.modifier.group_labels or ())
            if str(node.op) not in _KEEPING | {"or"}:
                return on
        return left | right if str(node.op) == "or" else left
