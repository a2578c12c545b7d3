"""HTTP/1.1 as an exporter needs it: request heads into `Request`, `Response` into bytes.

Follows RFC 9110 and 9112. Stricter than they allow where tolerance helps nobody: no folded
lines, no control characters, no two lengths, no body is ever read.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

from netfilter_exporter.accept import parse as parse_ranges

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"

_REQUEST_LINE = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]+) HTTP/1\.([01])")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_STRAY = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
_ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
#: uri-host [ ":" port ] of RFC 9110, 7.2. An IPv6 zone stands after its percent sign, escaped.
_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]+(?:%25[0-9A-Za-z._~-]+)?\]"
    r"|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?"
)
_LENGTH = re.compile(r"[0-9]{1,18}")

#: Headers of which two would let two readers see different requests, or different senders.
_ONCE = frozenset({"authorization", "content-length", "host", "origin", "sec-fetch-site"})


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
    peer: str = ""  #: its address, or nothing where it has none


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
    if not _HOST.fullmatch(headers.get("host", "")):
        raise HttpError(400, "malformed Host header")
    path, _, query = _origin_form(target).partition("?")
    return Request(
        method,
        unquote(path) if "%" in path else path,
        query,
        headers,
        keep_alive=_keep_alive(minor, headers.get("connection", "")),
        has_body=_has_body(headers),
    )


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _FIELD_NAME.fullmatch(name):
            raise HttpError(400, "malformed header line")
        key = name.lower()
        if key in headers and key in _ONCE:
            raise HttpError(400, f"two {name} headers")
        value = value.strip(" \t")
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _has_body(headers: Mapping[str, str]) -> bool:
    """Return whether a body follows; raise `HttpError` where two readers could disagree on it."""
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if length is not None or coding.rpartition(",")[2].strip(" \t").lower() != "chunked":
            raise HttpError(400, "the length of the body is not clear")
        return True
    if length is None:
        return False
    if not _LENGTH.fullmatch(length):
        raise HttpError(400, "malformed Content-Length header")
    return int(length) > 0


def _origin_form(target: str) -> str:
    """Return the path and query of a target; a server must take the proxies' form too."""
    absolute = _ABSOLUTE.match(target)
    if absolute:
        if not absolute[1] or not _HOST.fullmatch(absolute[1]):
            raise HttpError(400, "malformed host in the request target")
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
    """Return whether an Accept-Encoding header names gzip, and prefers nothing to it."""
    weights = {str(range_): range_.weight for range_ in parse_ranges(accept_encoding)}
    gzip = max(weights.get("gzip", 0), weights.get("x-gzip", 0))
    return gzip > 0 and gzip >= weights.get("identity", 0)
