"""The package: what may import what, and that a topic is added without editing another file."""

import ast
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import netfilter_exporter
from netfilter_exporter import collectors, facts
from netfilter_exporter.facts.snapshot import Fact

ROOT = Path(netfilter_exporter.__file__).parent
NAME = "netfilter_exporter"

#: From the ground up: a module imports from the lines above its own, and from its own folder.
LAYERS = (
    {"rules"},
    {"kernel"},
    {"netns_helper"},
    {"sandbox"},
    {"flows", "hits", "netns"},
    {"config"},
    {"facts"},
    {"collectors"},
    {"collection", "exposition"},
    {"exporter_metrics"},
    {"process", "textfile"},
    {"check"},
    {"web"},
    {"path_flags", "flow_flags", "netns_flags"},
    {"flags"},
    {"daemon"},
    {"target_labels", "scrape_interval", "mixin"},
    {"asset_flags"},
    {"cli", "assets"},
    {"__main__"},
)
#: Small modules of text or flags that read nothing and may be used at any height.
ANYWHERE = {"__init__", "logs", "accept", "malloc", "path_flags", "netns_flags"}
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer}


def modules():
    """Return each module of the package by its dotted name below it."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in ROOT.rglob("*.py")
    }


MODULES = modules()


def imported(path):
    """Yield the modules of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == NAME:
            base = (node.module or "").removeprefix(NAME).lstrip(".")
            for alias in node.names:
                whole = f"{base}.{alias.name}".lstrip(".")
                yield whole if whole in MODULES else base or "__init__"


ARROWS = {name: set(imported(path)) - {name} for name, path in MODULES.items()}


def room(module):
    return module.split(".")[0]


def test_no_import_goes_up():
    """Each module uses its own folder and what is below."""
    up = [
        (name, target)
        for name, targets in ARROWS.items()
        for target in targets
        if room(name) not in ANYWHERE | {room(target)}
        and room(target) not in ANYWHERE
        and RANK[room(target)] >= RANK[room(name)]
    ]
    assert up == []


def test_every_module_has_its_layer():
    """A new file at the top needs a place in the order."""
    assert {room(name) for name in MODULES} <= RANK.keys() | ANYWHERE


@pytest.mark.parametrize("fold", [lambda name: name, lambda name: ".".join(name.split(".")[:2])])
def test_no_circle(fold):
    """Neither among modules nor among the folders of kernel/."""
    arrows: dict[str, set[str]] = {}
    for name, targets in ARROWS.items():
        arrows.setdefault(fold(name), set()).update(map(fold, targets))
    done: set[str] = set()

    def visit(name, way):
        assert name not in way, (*way, name)
        if name not in done:
            for target in arrows.get(name, set()) - {name}:
                visit(target, (*way, name))
            done.add(name)

    for name in arrows:
        visit(name, ())


def test_rules_are_pure():
    """The model and its analysis import no module that could read anything."""
    allowed = {"__future__", "array", "collections", "dataclasses", "enum", "functools", "typing"}
    found = set()
    for path in (ROOT / "rules").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add((node.module or "").split(".")[0])
    assert found - {NAME} <= allowed | {"itertools", "ipaddress", "bisect", "operator", "socket"}


def test_topics_are_found_by_themselves():
    """No file names the collectors or the facts: adding one edits no other file."""
    names = {info.name for info in pkgutil.iter_modules(collectors.__path__)} - {"base"}
    assert set(collectors.load()) == names
    own = {"facts/snapshot.py", "collectors/__init__.py", "collection.py"}
    for file in own:
        text = re.sub(r'"""[\s\S]*?"""', "", (ROOT / file).read_text())
        topics = {f"facts.{info.name}" for info in pkgutil.iter_modules(facts.__path__)}
        assert not {t for t in topics - {"facts.snapshot"} if t in text}, file


def test_sources_are_distinct():
    """No two sources share a name or a rank."""
    sources = {}
    for info in pkgutil.iter_modules(facts.__path__):
        module = importlib.import_module(f"{facts.__name__}.{info.name}")
        for value in vars(module).values():
            if isinstance(value, Fact) and value.source_rank is not None:
                sources[id(value)] = value
    ranks = [source.source_rank for source in sources.values()]
    assert len({source.name for source in sources.values()}) == len(ranks) == len(set(ranks))
