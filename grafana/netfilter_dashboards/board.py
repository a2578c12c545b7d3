"""The frame of a dashboard: variables, annotations, links, the grid, and the JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard

from netfilter_dashboards.panels import SOURCE, Panel, of

#: The newest form that Grafana 9 to 13 all read.
SCHEMA_VERSION = 39
COLUMNS = 24
TAG = "netfilter"

#: Where the alert rules say that the runbooks are, as it stands in alerts/netfilter.rules.yml.
RUNBOOKS = "https://example.com/netfilter_exporter/runbooks"
RUNBOOK = "${runbook}/${__data.fields.alertname}.md"
RUNBOOK_TITLE = "Runbook of ${__data.fields.alertname}"

FLEET_UID, HOST_UID = "netfilter-fleet", "netfilter-host"
HOST_URL = (
    f"/d/{HOST_UID}?var-job=${{__data.fields.job}}&var-instance=${{__data.fields.instance}}"
    "&${datasource:queryparam}&${runbook:queryparam}&${__url_time_range}"
)
HOST_TITLE = "Dashboard of ${__data.fields.instance}"


class Placed(NamedTuple):
    """A panel and how wide it is."""

    width: int
    title: str
    description: str
    panel: Panel


class Row(NamedTuple):
    """Panels that stand side by side; with a title, a heading above them."""

    height: int
    panels: Sequence[Placed]
    title: str = ""


class Annotation(NamedTuple):
    """What is marked in all graphs."""

    name: str
    expr: str
    title: str
    text: str
    tags: str
    color: str


class About(NamedTuple):
    """What a dashboard is; `all_hosts`: whether it opens on all of them, or on the first."""

    uid: str
    title: str
    description: str
    all_hosts: bool


def build(about: About, rows: Sequence[Row], annotations: Sequence[Annotation]) -> str:
    """Return the JSON of a dashboard."""
    board = builders.Dashboard(about.title).uid(about.uid).description(about.description)
    board.tags([TAG]).readonly()
    board.time("now-6h", "now").refresh("1m").timezone("browser")
    board.tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
    for variable in _variables(all_hosts=about.all_hosts):
        board.with_variable(variable)
    for annotation in annotations:
        board.annotation(_annotation(annotation))
    for link in _links():
        board.link(link)
    _lay_out(board, rows)
    made = board.build()
    made.schema_version = SCHEMA_VERSION
    made.version = 1
    return _text(made)


def _text(made: dashboard.Dashboard) -> str:
    encoded: dict[str, Any] = json.loads(json.dumps(made, cls=JSONEncoder))
    for item in (*encoded["annotations"]["list"], *encoded["links"]):
        del item["placement"]  # in a menu, for Grafana 13: they are to be seen
    for variable in encoded["templating"]["list"]:
        for key in ("auto", "auto_min", "auto_count"):
            del variable[key]  # only an interval has them
    return json.dumps(encoded, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _variables(*, all_hosts: bool) -> list[Any]:
    source = builders.DatasourceVariable("datasource").label("Data source").type("prometheus")
    first = dashboard.VariableOption(selected=False, text="default", value="default")
    job = "label_values(netfilter_exporter_build_info, job)"
    instance = 'label_values(netfilter_exporter_build_info{job=~"$job"}, instance)'
    runbook = builders.TextBoxVariable("runbook").label("Runbooks").default_value(RUNBOOKS)
    return [
        source.current(first),
        _hosts("job", "Job", job, include_all=True),
        _hosts("instance", "Instance", instance, include_all=all_hosts),
        runbook.current(dashboard.VariableOption(selected=True, text=RUNBOOKS, value=RUNBOOKS))
        .options([dashboard.VariableOption(selected=True, text=RUNBOOKS, value=RUNBOOKS)])
        .description("Where the folder of runbooks is; the name of the alert and .md are added."),
    ]


def _hosts(name: str, label: str, query: str, *, include_all: bool) -> Any:
    variable = builders.QueryVariable(name).label(label).datasource(SOURCE).multi(True)
    variable.query({"query": query, "refId": "StandardVariableQuery"}).definition(query)
    variable.all_value(".+").include_all(include_all)
    if include_all:
        everything = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
        variable.current(everything)
    variable.refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return variable.sort(dashboard.VariableSort.NATURAL_ASC)


def _annotation(given: Annotation) -> Any:
    made = builders.AnnotationQuery().name(given.name).datasource(SOURCE).enable(True)
    made.hide(False).icon_color(given.color).expr(given.expr).step("15s")
    return made.title_format(given.title).text_format(given.text).tag_keys(given.tags)


def _links() -> list[Any]:
    dashboards = builders.DashboardLink("Netfilter").tags([TAG]).keep_time(True)
    dashboards.type(dashboard.DashboardLinkType.DASHBOARDS).include_vars(True).icon("dashboard")
    runbooks = builders.DashboardLink("Runbooks").type(dashboard.DashboardLinkType.LINK)
    return [dashboards, runbooks.url("${runbook}").icon("doc").target_blank(True)]


def _lay_out(board: Any, rows: Sequence[Row]) -> None:
    """Give each panel its place and its number; the SDK would run over the edge."""
    number, top = 0, 0
    for row in rows:
        if row.title:
            number += 1
            heading = builders.Row(row.title).id(number).collapsed(False)
            board.with_row(heading.grid_pos(_position(1, COLUMNS, 0, top)))
            top += 1
        left = 0
        for placed in row.panels:
            number += 1
            panel = of(placed.title, placed.description, placed.panel).id(number)
            board.with_panel(panel.grid_pos(_position(row.height, placed.width, left, top)))
            left += placed.width
        if left != COLUMNS:
            raise ValueError(f"a row of {row.panels[0].title} is {left} wide")
        top += row.height


def _position(height: int, width: int, left: int, top: int) -> dashboard.GridPos:
    return dashboard.GridPos(h=height, w=width, x=left, y=top)
