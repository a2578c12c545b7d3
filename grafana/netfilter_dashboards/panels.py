"""Panels, and how a query, a state and a threshold look in them."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models import common as model
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from netfilter_dashboards.states import GREEN, GREY, ORANGE, RED, Limits, States

SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")

NO_DATA = "no data"
#: A panel's builder; the SDK has no common type for them.
Panel = Any
Property = dashboard.DynamicConfigValue


class Query(NamedTuple):
    """A query, what its series are called, and what their values mean where that differs."""

    expr: str
    legend: str = ""
    states: States | None = None
    limits: Limits | None = None
    interval: str = ""  #: between two new values, where that is longer than between two scrapes


def of(title: str, description: str, panel: Panel) -> Panel:
    """Give a panel what every panel has."""
    return panel.title(title).description(description).datasource(SOURCE)


def mapped(states: States) -> list[dashboard.ValueMapping]:
    """Return the mapping of numbers to text and colour."""
    return [
        dashboard.ValueMap(
            {
                str(number): dashboard.ValueMappingResult(
                    text=state.text, color=state.color, index=i
                )
                for i, (number, state) in enumerate(states.items())
            }
        )
    ]


def mapped_words(words: Mapping[str, str]) -> list[dashboard.ValueMapping]:
    """Return the mapping that gives words their colours."""
    return [
        dashboard.ValueMap(
            {
                word: dashboard.ValueMappingResult(text=word, color=color, index=i)
                for i, (word, color) in enumerate(words.items())
            }
        )
    ]


def nothing(text: str) -> list[dashboard.ValueMapping]:
    """Return the mapping of no value: Grafana gives it the colour of a good one, green."""
    result = dashboard.ValueMappingResult(text=text, color=GREY, index=0)
    options = dashboard.DashboardSpecialValueMapOptions(
        match=dashboard.SpecialValueMatch.NULL_AND_NAN, result=result
    )
    return [dashboard.SpecialValueMap(options)]


def thresholds(limits: Limits | None) -> ThresholdsConfig:
    """Return the colours of values: red from where an alert is critical on."""
    steps = [dashboard.Threshold(color=GREEN, value=None)]
    if limits and limits.warning is not None:
        steps.append(dashboard.Threshold(color=ORANGE, value=limits.warning))
    if limits and limits.critical is not None:
        steps.append(dashboard.Threshold(color=RED, value=limits.critical))
    return ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def by_threshold() -> FieldColor:
    """Return the colour that the thresholds give."""
    return FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS)


def _targets(panel: Panel, queries: Sequence[Query], *, instant: bool, table: bool = False) -> None:
    for letter, query in zip(string.ascii_uppercase, queries, strict=False):
        target = prometheus.Dataquery().ref_id(letter).expr(query.expr).datasource(SOURCE)
        target = target.format(PromQueryFormat.TABLE if table else PromQueryFormat.TIME_SERIES)
        target = target.instant() if instant else target.range()
        if query.interval:
            target = target.interval(query.interval)
        panel.with_target(target.legend_format(query.legend) if query.legend else target)
        if query.states and not table:
            panel.override_by_query(letter, [Property("mappings", mapped(query.states))])
        if query.limits:
            steps = thresholds(query.limits).build()
            panel.override_by_query(letter, [Property("thresholds", steps)])


def stats(
    *queries: Query,
    unit: str = "none",
    limits: Limits | None = None,
    states: States | None = None,
    decimals: int | None = None,
) -> Panel:
    """Return a panel of the values that hold now, in words where `states` has them."""
    panel = stat.Panel().unit(unit).thresholds(thresholds(limits)).color_scheme(by_threshold())
    panel.mappings([*(mapped(states) if states else ()), *nothing(NO_DATA)])
    if decimals is not None:
        panel.decimals(decimals)
    _targets(panel, queries, instant=True)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    panel.color_mode(model.BigValueColorMode.BACKGROUND).graph_mode(model.BigValueGraphMode.NONE)
    return panel.text_mode(model.BigValueTextMode.AUTO).no_value(NO_DATA)


def timeline(*queries: Query, states: States | None = None) -> Panel:
    """Return a band for each series, with its states in words."""
    panel = statetimeline.Panel().unit("none")
    panel.color_scheme(by_threshold()).thresholds(thresholds(None))
    if states:
        panel.mappings(mapped(states))
    _targets(panel, queries, instant=False)
    panel.show_value(model.VisibilityMode.AUTO).merge_values(True).row_height(0.85)
    panel.fill_opacity(75).line_width(0).legend(_legend(shown=False))
    return panel.tooltip(_tooltip(model.TooltipDisplayMode.SINGLE))


def _legend(*, shown: bool = True) -> common.VizLegendOptions:
    legend = common.VizLegendOptions().show_legend(shown).calcs([])
    legend.display_mode(model.LegendDisplayMode.LIST)
    return legend.placement(model.LegendPlacement.BOTTOM)


def _tooltip(mode: model.TooltipDisplayMode) -> common.VizTooltipOptions:
    return common.VizTooltipOptions().mode(mode).sort(model.SortOrder.DESCENDING)


def graph(
    *queries: Query, unit: str, limits: Limits | None = None, stacked: bool = False, top: float = 0
) -> Panel:
    """Return lines over time; limits are drawn in. `top` is how far the axis reaches at least."""
    panel = timeseries.Panel().unit(unit).min(0).fill_opacity(40 if stacked else 8).line_width(1)
    panel.thresholds(thresholds(limits)).show_points(model.VisibilityMode.NEVER)
    style = model.GraphThresholdsStyleMode.DASHED if limits else model.GraphThresholdsStyleMode.OFF
    panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(style))
    if stacked:
        mode = model.StackingMode.NORMAL
        panel.stacking(common.StackingConfig().mode(mode).group("A"))
    if top:
        panel.axis_soft_max(top)
    _targets(panel, queries, instant=False)
    return panel.legend(_legend()).tooltip(_tooltip(model.TooltipDisplayMode.MULTI))


def dashed(panel: Panel, letter: str, color: str) -> Panel:
    """Draw the series of a query dashed and without an area: a limit, a prediction."""
    style = {"fill": "dash", "dash": [8, 8]}
    properties = {"custom.lineStyle": style, "custom.fillOpacity": 0}
    colored(panel, letter, color)
    return panel.override_by_query(letter, [Property(k, v) for k, v in properties.items()])


def colored(panel: Panel, letter: str, color: str) -> Panel:
    """Draw the series of a query in one colour."""
    fixed = FieldColor().mode(dashboard.FieldColorModeId.FIXED).fixed_color(color).build()
    return panel.override_by_query(letter, [Property("color", fixed)])


def bars(
    query: Query,
    *,
    unit: str,
    limits: Limits | None = None,
    top: float | None = None,
    decimals: int | None = None,
) -> Panel:
    """Return a bar for each series as it is now."""
    panel = bargauge.Panel().unit(unit).min(0).thresholds(thresholds(limits))
    panel.color_scheme(by_threshold())
    if top is not None:
        panel.max(top)
    if decimals is not None:
        panel.decimals(decimals)
    _targets(panel, (query,), instant=True)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    panel.orientation(model.VizOrientation.HORIZONTAL)
    return panel.display_mode(model.BarGaugeDisplayMode.BASIC)


class Column(NamedTuple):
    """A column of a table: a label, or the value of the query whose letter it is."""

    field: str
    title: str
    states: States | None = None
    words: Mapping[str, str] | None = None
    unit: str = "none"
    limits: Limits | None = None
    url: str = ""
    link_title: str = ""
    width: int = 0
    decimals: int | None = None

    def _mapping(self) -> list[dashboard.ValueMapping]:
        if self.states:
            return mapped(self.states)
        return mapped_words(self.words) if self.words else []

    def properties(self) -> Iterable[Property]:
        """Return how the column looks."""
        yield Property("displayName", self.title)
        if self.width:
            yield Property("custom.width", self.width)
        if self.decimals is not None:
            yield Property("decimals", self.decimals)
        if self.unit != "none":
            yield Property("unit", self.unit)
        yield Property("mappings", [*self._mapping(), *nothing("-")])
        if self.limits:
            yield Property("thresholds", thresholds(self.limits).build())
        if self.states or self.words or self.limits:
            cell = {"type": "color-background", "mode": "basic"}
            yield Property("custom.cellOptions", cell)
        if self.url:
            yield Property("links", [{"title": self.link_title, "url": self.url}])


def table(
    *queries: Query,
    columns: Sequence[Column],
    sort: Mapping[str, bool],
    no_value: str = "",
    hidden: Sequence[str] = (),
) -> Panel:
    """Return a row for each set of labels; `sort`: by field, whether it is descending.

    Columns that are not named stand behind the others, as labels that only some rows have.
    """
    panel = tables.Panel().unit("none").thresholds(thresholds(None)).filterable(True)
    panel.color_scheme(by_threshold())
    _targets(panel, queries, instant=True, table=True)
    order = {column.field: index for index, column in enumerate(columns)}
    exclude = dict.fromkeys(("Time", "__name__", "prometheus", *hidden), True)
    by = [{"field": field, "desc": descending} for field, descending in sort.items()]
    panel.transformations(
        [
            dashboard.DataTransformerConfig("merge", options={}),
            dashboard.DataTransformerConfig("sortBy", options={"fields": {}, "sort": by}),
            dashboard.DataTransformerConfig(
                "organize",
                options={"excludeByName": exclude, "indexByName": order, "renameByName": {}},
            ),
        ]
    )
    for column in columns:
        panel.override_by_name(column.field, list(column.properties()))
    return panel.show_header(True).no_value(no_value) if no_value else panel.show_header(True)
