"""HTTP/1.1 as an exporter needs it: request heads into `Request`, `Response` into bytes.

Follows RFC 9110 and 9112. Stricter than they allow where tolerance helps nobody: no folded
lines, no control characters, no body is ever read.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"

_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]+) HTTP/1\.([01])")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STRAY = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


class HttpError(Exception):
    """The request cannot be answered as asked; the text is for the client."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status

    def response(self) -> Response:
        return Response(self.status, f"{self}\n".encode())


class Request(NamedTuple):
    """The head of a request."""

    method: str
    path: str  #: percent-decoded
    query: str
    headers: Mapping[str, str]  #: names in lower case, repeated ones joined by commas
    keep_alive: bool = True
    has_body: bool = False


class Response(NamedTuple):
    """What goes back; its Content-Length is that of `body` even where only the head is sent."""

    status: int
    body: bytes
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()


def parse_request(head: bytes) -> Request:
    """Parse a head without its final empty line; raise `HttpError` 400 for what is not HTTP/1."""
    text = head.decode("latin-1")
    if _STRAY.search(text):
        raise HttpError(400, "control character in the request head")
    request_line, *lines = text.replace("\r\n", "\n").split("\n")
    matched = _REQUEST_LINE.fullmatch(request_line)
    if not matched:
        raise HttpError(400, "not an HTTP/1.0 or HTTP/1.1 request line")
    method, target, minor = matched.groups()
    headers = _headers(lines)
    if minor == "1" and "host" not in headers:
        raise HttpError(400, "no Host header")
    path, _, query = _origin_form(target).partition("?")
    return Request(
        method,
        unquote(path) if "%" in path else path,
        query,
        headers,
        keep_alive=_keep_alive(minor, headers.get("connection", "")),
        has_body="transfer-encoding" in headers or headers.get("content-length", "0") != "0",
    )


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _FIELD_NAME.fullmatch(name):
            raise HttpError(400, "malformed header line")
        key = name.lower()
        value = value.strip(" \t")
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _origin_form(target: str) -> str:
    """Return the path and query of a target; a server must take the proxies' form too."""
    absolute = _ABSOLUTE.match(target)
    if absolute:
        rest = target[absolute.end() :]
        return rest if rest.startswith("/") else f"/{rest}"
    if not target.startswith("/"):
        raise HttpError(400, "the request target is not a path")
    return target


def _keep_alive(minor: str, connection: str) -> bool:
    tokens = [token.strip().lower() for token in connection.split(",")]
    return "close" not in tokens and (minor == "1" or "keep-alive" in tokens)


def render_head(response: Response, *, keep_alive: bool, now: float) -> bytes:
    """Return status line and headers, at `now` in seconds since the epoch.

    No Server header: nobody needs to know what answers, and in which version.
    """
    lines = [
        _status_line(response.status),
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        f"Date: {_date(int(now))}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
    ]
    lines.extend(f"{name}: {value}" for name, value in response.headers)
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _status_line(status: int) -> str:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"


@functools.lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether an Accept-Encoding header names gzip, and not with a weight of zero."""
    for coding in accept_encoding.lower().split(","):
        name, _, parameters = coding.partition(";")
        if name.strip() in {"gzip", "x-gzip"}:
            return _weight(parameters) > 0
    return False


def _weight(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if not parameters.strip():
        return 1
    weight = re.fullmatch(r"(0(\.\d{0,3})?|1(\.0{0,3})?)", value.strip(), re.ASCII)
    return float(value) if weight and name.strip() == "q" else 0
