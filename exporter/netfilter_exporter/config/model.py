"""The configuration file: the role of this host, and what is expected of it.

Strict: a key that is unknown or given twice, or a value of the wrong type, is an error that names
its place and what is allowed there.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping

import yaml

from netfilter_exporter.config import yaml_reader
from netfilter_exporter.config.flows import Flows, read_flows
from netfilter_exporter.config.yaml_reader import (
    ConfigError,
    Place,
    Reader,
    choice,
    fields,
    list_of,
    matching,
    record,
)
from netfilter_exporter.kernel.sysctl import names as sysctl_names
from netfilter_exporter.kernel.sysctl.names import Desired, Operator
from netfilter_exporter.rules.families import Backend, Family
from netfilter_exporter.rules.model import Action

__all__ = ["Config", "ConfigError", "load", "parse"]


class Role(enum.Enum):
    """Whether this host has to NAT in a family."""

    REQUIRED = "required"
    NONE = "none"
    AUTO = "auto"  #: decided by what was there within the last day


class NamespaceRule(enum.Enum):
    """Which network namespace the exporter should read."""

    HOST = "host"
    ANY = "any"


@dataclasses.dataclass(frozen=True)
class Nat:
    """The role of this host, for each family."""

    ipv4: Role = Role.AUTO
    ipv6: Role = Role.AUTO

    def role(self, family: Family) -> Role:
        return self.ipv4 if family is Family.IPV4 else self.ipv6


@dataclasses.dataclass(frozen=True)
class ExpectedRule:
    """A translating rule that must exist; None stands for any."""

    name: str
    family: Family
    action: Action
    backend: Backend | None = None
    table: str | None = None
    chain: str | None = None
    interface: str | None = None


@dataclasses.dataclass(frozen=True)
class Expect:
    """What must exist on this host."""

    interfaces: tuple[str, ...] = ()
    rules: tuple[ExpectedRule, ...] = ()
    modules: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Modules:
    """Modules to report, besides the built-in list."""

    watch: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole file; the defaults are those of an empty one, and of none."""

    nat: Nat = Nat()
    network_namespace: NamespaceRule = NamespaceRule.HOST
    sysctls: tuple[Desired, ...] = ()
    expect: Expect = Expect()
    modules: Modules = Modules()
    flows: Flows = dataclasses.field(default_factory=Flows)
    collectors: frozenset[str] = frozenset()  #: options that are on: "conntrack.per-cpu"


def load(path: str) -> Config:
    """Read the file at `path`; raises `ConfigError`."""
    return parse(yaml_reader.read(path), path)


def parse(text: str, file: str) -> Config:
    """Parse the text of a configuration, which messages call `file`; raises `ConfigError`."""
    node = yaml_reader.compose(text, file)
    if node is None:
        return Config()
    return Config(**fields(node, Place(file), _CONFIG))


# -- readers of nodes of this file's own ------------------------------------------------------


def _nat(node: yaml.Node, place: Place) -> Nat:
    if isinstance(node, yaml.MappingNode):
        return Nat(**fields(node, place, {"ipv4": _ROLE, "ipv6": _ROLE}))
    role = _ROLE(node, place)
    # A host that must not translate must not in any family; few translate IPv6.
    return Nat(ipv4=role, ipv6=role) if role is Role.NONE else Nat(ipv4=role)


def _rule(node: yaml.Node, place: Place) -> ExpectedRule:
    values = fields(node, place, _RULE)
    missing = [key for key in ("name", "family", "action") if key not in values]
    if missing:
        raise place.error(node, f"{missing[0]} is missing", "name, family and action are required")
    return ExpectedRule(**values)


def _module(node: yaml.Node, place: Place) -> str:
    # The kernel takes both, and lists the underscore.
    return str(_MODULE_NAME(node, place)).replace("-", "_")


def _switches(names: Mapping[str, str]) -> Reader:
    """Read options that are true or false; `names` are our names of those that are on."""

    def read(node: yaml.Node, place: Place) -> frozenset[str]:
        values = fields(node, place, dict.fromkeys(names, yaml_reader.boolean))
        return frozenset(names[key] for key, on in values.items() if on)

    return read


def _collectors(node: yaml.Node, place: Place) -> frozenset[str]:
    return frozenset[str]().union(*fields(node, place, _COLLECTORS).values())


# -- sysctls -----------------------------------------------------------------------------------

_WANTED = re.compile(r"(=|>=|<=)?[ \t]*(-?(?:0|[1-9][0-9]{0,17}))")
_OCTAL = re.compile(r"(?:=|>=|<=)?[ \t]*-?0[0-9]+")
_WANTED_TEXT = "a whole number, or one after =, >= or <=: '>= 262144'"
_LISTED = re.compile(r"([^\s<>=]+)[ \t]*((?:=|>=|<=)[ \t]*-?[0-9]{1,18})")


def _sysctls(node: yaml.Node, place: Place) -> tuple[Desired, ...]:
    found: dict[str, Desired] = {}
    for name, text, named, at in _sysctl_pairs(node, place):
        here = place.below(name)
        key = sysctl_names.canonical(sysctl_names.to_key(name))
        if not key.startswith("net/") or not re.fullmatch(r"[!-)+->@-Z^-~]+", key) or ".." in key:
            raise here.error(
                named, "not the name of one sysctl of the network", "net.*, no pattern"
            )
        match = _WANTED.fullmatch(text)
        if _OCTAL.fullmatch(text):  # 010 is 8 for YAML and for sysctl.d, and 10 for most people
            raise here.error(at, f"{text[:40]!r} looks octal", "a number without leading zeros")
        if not match:
            raise here.error(at, f"{text[:40]!r} is not a value", _WANTED_TEXT)
        if key in found:
            raise here.error(named, "given twice, maybe under its other name", "each one once")
        operator = Operator(match.group(1) or "=")
        origin = f"{place.file}:{at.start_mark.line + 1}"
        found[key] = Desired(key, "config", operator, int(match.group(2)), origin)
    return tuple(found.values())


def _sysctl_pairs(node: yaml.Node, place: Place) -> list[tuple[str, str, yaml.Node, yaml.Node]]:
    """Return each name and its value as text, and where the two stand."""
    if isinstance(node, yaml.MappingNode):
        return [
            (key.value, yaml_reader.scalar(value, place.below(key.value), _WANTED_TEXT), key, value)
            for key, value in yaml_reader.mapping(node, place)
        ]
    allowed = "'NAME >= NUMBER', also with = or <="
    pairs = []
    for number, child in enumerate(yaml_reader.sequence(node, place)):
        item = place.item(number)
        text = yaml_reader.scalar(child, item, allowed)
        match = _LISTED.fullmatch(text)
        if not match:
            raise item.error(child, f"{text[:40]!r} is not a desired value", allowed)
        pairs.append((match.group(1), match.group(2), child, child))
    return pairs


# -- the schema --------------------------------------------------------------------------------

_ROLE = choice(Role)
_NAME = matching(r"[^\x00-\x1f\x7f]{1,128}", "1 to 128 printable characters")
#: dev_valid_name (net/core/dev.c, v6.18) and IFNAMSIZ.
_INTERFACE = matching(r"(?!\.{1,2}$)[^\s/:\x00-\x1f\x7f]{1,15}", "an interface: 1 to 15 characters")
_MODULE_NAME = matching(r"[A-Za-z0-9_-]{1,55}", "a module: letters, digits, - and _")

_RULE: dict[str, Reader] = {
    "name": _NAME,
    "family": choice(Family),
    "action": choice(Action),
    "backend": choice(Backend),
    "table": _NAME,
    "chain": _NAME,
    "interface": _INTERFACE,
}

_COLLECTORS: dict[str, Reader] = {
    "conntrack": _switches({"per_cpu": "conntrack.per-cpu"}),
    "modules": _switches({"references": "modules.references"}),
}

_CONFIG: dict[str, Reader] = {
    "nat": _nat,
    "network_namespace": choice(NamespaceRule),
    "sysctls": _sysctls,
    "expect": record(
        Expect,
        {
            "interfaces": list_of(_INTERFACE),
            "rules": list_of(_rule, lambda rule: rule.name),
            "modules": list_of(_module),
        },
    ),
    "modules": record(Modules, {"watch": list_of(_module)}),
    "flows": read_flows,
    "collectors": _collectors,
}
