"""The file of --web.config.file, in the format of the Prometheus project's exporter-toolkit.

Strict like the other configuration.
"""

from __future__ import annotations

import dataclasses
import re

import yaml

from netfilter_exporter.config import yaml_reader
from netfilter_exporter.config.yaml_reader import (
    Place,
    Reader,
    boolean,
    fields,
    mapping,
    matching,
    record,
    scalar,
    whole_number,
)
from netfilter_exporter.web import tls_config


@dataclasses.dataclass(frozen=True)
class Http:
    """What stands in http_server_config."""

    http2: bool = False
    headers: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class RateLimit:
    """One request each `interval` seconds, and `burst` at once; no limit where it is 0."""

    interval: float = 0
    burst: int = 0


@dataclasses.dataclass(frozen=True)
class WebConfig:
    """The whole file; the defaults are those of an empty one, and of none."""

    tls: tls_config.Tls | None = None
    http: Http = Http()
    users: tuple[tuple[str, str], ...] = dataclasses.field(default=(), repr=False)
    rate_limit: RateLimit = RateLimit()


_HEADERS = {
    "Content-Security-Policy": None,
    "Strict-Transport-Security": None,
    "X-Content-Type-Options": ("nosniff",),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-XSS-Protection": None,
}


def load(path: str) -> WebConfig:
    """Read the file at `path`; raises `ConfigError`. Files that it names are not read here."""
    return parse(yaml_reader.read(path), path)


def parse(text: str, file: str) -> WebConfig:
    """Parse the text of a file, which messages call `file`; raises `ConfigError`."""
    node = yaml_reader.compose(text, file)
    if node is None:
        return WebConfig()
    values = fields(node, Place(file), _WEB_CONFIG)
    return WebConfig(**{_NAMES[key]: value for key, value in values.items()})


# -- the other sections --------------------------------------------------------------------------


def _headers(node: yaml.Node, place: Place) -> tuple[tuple[str, str], ...]:
    """Read headers; a blank one is not sent."""
    headers = []
    for key, value in mapping(node, place):
        here = place.below(key.value)
        if key.value not in _HEADERS:
            raise here.error(key, "this header cannot be set", ", ".join(_HEADERS))
        allowed = _HEADERS[key.value]
        text = str(_HEADER_VALUE(value, here))
        if text and allowed and text not in allowed:
            raise here.error(value, f"{text[:40]!r} is not known", ", ".join(allowed))
        if text:
            headers.append((key.value, text))
    return tuple(headers)


#: Checking a hash takes 2^cost rounds: 60 ms at 10, 250 ms at 12, 16 s at 18, on a machine of 2024.
_MOST_COST = 12
_HASH = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")


def _users(node: yaml.Node, place: Place) -> tuple[tuple[str, str], ...]:
    users = []
    for key, value in mapping(node, place):
        here = place.below(key.value)
        allowed = "a bcrypt hash: $2y$10$ and 53 characters"
        if not key.value or ":" in key.value:
            raise here.error(key, "no user can have this name", "a name without a colon")
        hashed = scalar(value, here, allowed)
        if not _HASH.fullmatch(hashed):
            # Not shown: it may be a password.
            raise here.error(value, "this is not a bcrypt hash", allowed)
        if int(hashed[4:6]) > _MOST_COST:
            problem = f"a bcrypt hash of cost {hashed[4:6]} takes too long to check"
            raise here.error(value, problem, f"cost 04 to {_MOST_COST}: htpasswd -nBC 10")
        users.append((key.value, hashed))
    return tuple(users)


#: Go's time.ParseDuration, without what is no interval between requests.
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ns|us|µs|ms|s|m|h)", re.ASCII)


def _duration(node: yaml.Node, place: Place) -> float:
    allowed = "a duration such as 100ms, 1s, 1m30s; 0 for no limit"
    text = scalar(node, place, allowed)
    parts = _DURATION.findall(text)
    if text != "0" and (not parts or "".join(map("".join, parts)) != text):
        raise place.error(node, f"{text[:40]!r} is not a duration", allowed)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _rate_limit(node: yaml.Node, place: Place) -> RateLimit:
    limit = RateLimit(**fields(node, place, _RATE_LIMIT))
    if limit.interval and not limit.burst:
        raise place.error(node, "burst is missing: nothing would be served", "burst: 1 or more")
    return limit


# -- the schema ----------------------------------------------------------------------------------

_HEADER_VALUE = matching(r"[ -~]{0,4096}", "printable ASCII")

_RATE_LIMIT: dict[str, Reader] = {
    "interval": _duration,
    "burst": whole_number(range(1_000_000_000)),
}
_WEB_CONFIG: dict[str, Reader] = {
    "tls_server_config": tls_config.read,
    "http_server_config": record(Http, {"http2": boolean, "headers": _headers}),
    "basic_auth_users": _users,
    "rate_limit": _rate_limit,
}

_NAMES = {
    "tls_server_config": "tls",
    "http_server_config": "http",
    "basic_auth_users": "users",
    "rate_limit": "rate_limit",
}
