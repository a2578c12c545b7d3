"""YAML for configuration files: nodes with their places, and errors that name them.

A part of YAML is enough: one document of mappings, sequences and plain values. Anchors, aliases,
merge keys and tags are refused, so that a key stands once and where it is read.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from typing import Any, Callable, NamedTuple

import yaml

from netfilter_exporter.kernel import names
from netfilter_exporter.kernel.errors import ReadError
from netfilter_exporter.kernel.files import read_regular

#: Far above any configuration, far below what a parser can be hurt with.
SIZE_LIMIT = 1 << 16
_DEPTH_LIMIT = 16
#: As many as are served of one metric: collectors/base.py.
_ITEMS_LIMIT = 64

_TAG = "tag:yaml.org,2002:"


class ConfigError(Exception):
    """The configuration cannot be used; the text is for the person who wrote it."""


class Place(NamedTuple):
    """A file, and a key in it as it is written in messages: ``expect.rules[0].family``."""

    file: str
    key: str = ""

    def below(self, key: str) -> Place:
        shown = key[:80]
        return Place(self.file, f"{self.key}.{shown}" if self.key else shown)

    def item(self, number: int) -> Place:
        return Place(self.file, f"{self.key}[{number}]")

    def error(self, node: yaml.Node, problem: str, allowed: str) -> ConfigError:
        """Return the error of `node`; `allowed` says what would do."""
        key = self.key or "the document"
        return ConfigError(f"{self.at(node)}: {key}: {problem}; expected {allowed}")

    def at(self, node: yaml.Node) -> str:
        """Return where `node` is, as messages say it."""
        return _at(self.file, node.start_mark)


def read(path: str) -> str:
    """Return the text of a configuration file; raises `ConfigError`."""
    try:
        return read_regular(path, SIZE_LIMIT).decode()
    except ReadError as error:
        raise ConfigError(str(error)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start}: not UTF-8") from None


def compose(text: str, file: str) -> yaml.Node | None:
    """Return the root node, or None for an empty document; raises `ConfigError`."""
    try:
        _refuse(text, file)
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        at = _at(file, error.problem_mark or error.context_mark)
        raise ConfigError(f"{at}: not YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise ConfigError(f"{file}:{line}:{column}: not YAML: {error.reason}") from None


def _refuse(text: str, file: str) -> None:
    """Refuse what is not needed, before nodes are made: aliases could make far too many."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        at = _at(file, event.start_mark)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise ConfigError(f"{at}: anchors and aliases are not allowed; write it out")
        if tag := getattr(event, "tag", None):
            raise ConfigError(f"{at}: the tag {tag[:40]} is not allowed; leave it out")
        if isinstance(event, yaml.ScalarEvent) and not names.is_text(event.value):
            raise ConfigError(f"{at}: half a character (a surrogate); write the character itself")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEPTH_LIMIT:
                raise ConfigError(f"{at}: nested deeper than {_DEPTH_LIMIT} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _at(file: str, mark: Any) -> str:
    return f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else file


def mapping(node: yaml.Node, place: Place) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
    """Yield key and value of a mapping; nothing at all (``key:``) is an empty one."""
    if _is_null(node):
        return
    if not isinstance(node, yaml.MappingNode):
        raise place.error(node, f"found {_kind(node)}", "a mapping (key: value)")
    seen: set[str] = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _TAG + "merge":
            raise place.error(key, "this is no key", "plain keys")
        if key.value in seen:
            raise place.below(key.value).error(key, "given twice", "each key once")
        seen.add(key.value)
        if len(seen) > _ITEMS_LIMIT:
            raise place.error(key, "too many", f"at most {_ITEMS_LIMIT}")
        yield key, value


def sequence(node: yaml.Node, place: Place) -> Iterator[yaml.Node]:
    """Yield the items of a sequence; nothing at all (``key:``) is an empty one."""
    if _is_null(node):
        return
    if not isinstance(node, yaml.SequenceNode):
        raise place.error(node, f"found {_kind(node)}", "a list (- item)")
    if len(node.value) > _ITEMS_LIMIT:
        raise place.error(node, "too many", f"at most {_ITEMS_LIMIT}")
    yield from node.value


def scalar(node: yaml.Node, place: Place, allowed: str) -> str:
    """Return the text of a plain value, as it is written: a number keeps its zeros."""
    if not isinstance(node, yaml.ScalarNode) or _is_null(node):
        raise place.error(node, f"found {_kind(node)}", allowed)
    return str(node.value)


def boolean(node: yaml.Node, place: Place) -> bool:
    """Return a truth value; YAML's yes and off are refused, for they are as often meant as text."""
    text = scalar(node, place, "true, false")
    if text not in {"true", "false"} or node.tag != _TAG + "bool":
        raise place.error(node, f"found {text[:40]!r}", "true, false")
    return text == "true"


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "null"


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "nothing" if _is_null(node) else f"{str(node.value)[:40]!r}"


# -- readers of nodes: each takes a node and its place, and gives a value or raises ------------

Reader = Callable[[yaml.Node, Place], Any]


def fields(node: yaml.Node, place: Place, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """Read a mapping with the keys of `readers`, all of them optional."""
    values = {}
    for key, value in mapping(node, place):
        if key.value not in readers:
            raise place.below(key.value).error(key, "unknown key", ", ".join(readers))
        values[key.value] = readers[key.value](value, place.below(key.value))
    return values


def choice(words: type[enum.Enum]) -> Reader:
    """Return the reader of one of `words`, by their values."""
    allowed = {word.value: word for word in words}

    def read(node: yaml.Node, place: Place) -> enum.Enum:
        word = scalar(node, place, ", ".join(allowed))
        if word not in allowed:
            raise place.error(node, f"{word[:40]!r} is not known", ", ".join(allowed))
        return allowed[word]

    return read


def matching(pattern: str, allowed: str) -> Reader:
    """Return the reader of a text that `pattern` matches as a whole."""
    compiled = re.compile(pattern)

    def read(node: yaml.Node, place: Place) -> str:
        text = scalar(node, place, allowed)
        if not compiled.fullmatch(text):
            raise place.error(node, f"{text[:40]!r} does not fit", allowed)
        return text

    return read


_DECIMAL = re.compile(r"0|[1-9][0-9]{0,17}")


def whole_number(allowed: range) -> Reader:
    """Return the reader of a whole number."""
    text = f"a whole number from {allowed[0]} to {allowed[-1]}, without leading zeros"

    def read(node: yaml.Node, place: Place) -> int:
        word = scalar(node, place, text)
        # 010 is 8 for YAML, and 10 for most people.
        if not _DECIMAL.fullmatch(word) or int(word) not in allowed:
            raise place.error(node, f"{word[:40]!r} does not fit", text)
        return int(word)

    return read


def list_of(read: Reader, identity: Callable[[Any], Any] = lambda item: item) -> Reader:
    """Return the reader of a list, whose items must differ in their `identity`."""

    def read_all(node: yaml.Node, place: Place) -> tuple[Any, ...]:
        items: dict[Any, Any] = {}
        for number, child in enumerate(sequence(node, place)):
            item = read(child, place.item(number))
            if identity(item) in items:
                raise place.item(number).error(child, "given twice", "each one once")
            items[identity(item)] = item
        return tuple(items.values())

    return read_all


def record(make: Callable[..., Any], readers: Mapping[str, Reader]) -> Reader:
    """Return the reader of a mapping that `make` makes something of."""
    return lambda node, place: make(**fields(node, place, readers))
