"""web/http.py: request heads into requests, responses into heads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netfilter_exporter.web.http import (
    HttpError,
    Request,
    Response,
    accepts_gzip,
    parse_request,
    render_head,
)

HOST = b"Host: gateway\r\n"


def test_a_request_of_prometheus():
    """Method, path, query and headers come out as they were sent."""
    head = b"GET /metrics?collect[]=nat HTTP/1.1\r\nHost: gateway:10042\r\nACCEPT:  a \r\nAccept:b"
    assert parse_request(head) == Request(
        "GET", "/metrics", "collect[]=nat", {"host": "gateway:10042", "accept": "a, b"}
    )


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (b"GET / HTTP/1.1\r\nHost: a", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Close", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: TE, close", False),
        (b"GET / HTTP/1.0", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive", True),
    ],
)
def test_keep_alive(head: bytes, keep_alive: bool):
    """A connection stays open in HTTP/1.1 unless, and in HTTP/1.0 only if, the client says so."""
    assert parse_request(head).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/m%65trics", "/metrics"),
        (b"http://gateway:10042/metrics?a", "/metrics"),
        (b"HTTPS://gateway?a", "/"),
        (b"//metrics", "//metrics"),
    ],
)
def test_target_forms(target: bytes, path: str):
    """Escapes are decoded, and the absolute form that proxies send is a path too."""
    assert parse_request(b"GET " + target + b" HTTP/1.1\r\n" + HOST.strip()).path == path


@pytest.mark.parametrize(
    ("field", "has_body"),
    [
        (b"Content-Length: 0", False),
        (b"Content-Length: 000", False),
        (b"Content-Length:  3 ", True),
        (b"Transfer-Encoding: chunked", True),
        (b"Transfer-Encoding: gzip,\tChunked", True),
    ],
)
def test_body(field: bytes, has_body: bool):
    """A request has no body only where its length is absent or 0."""
    assert parse_request(b"GET / HTTP/1.1\r\n" + HOST + field).has_body is has_body


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET /",
        b"GET  / HTTP/1.1\r\nHost: a",
        b"GET / HTTP/2.0\r\nHost: a",
        b"GET / HTTP/1.1",
        b"GET metrics HTTP/1.1\r\nHost: a",
        b"GET * HTTP/1.1\r\nHost: a",
        b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a",
        b"G@T / HTTP/1.1\r\nHost: a",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded",
        b"GET / HTTP/1.1\r\nHost: a\r\nno colon",
        b"GET / HTTP/1.1\r\nHost : a",
        b"GET / HTTP/1.1\r\nHost: a\r\n: b",
        b"GET / HTTP/1.1\r\nHost: a\x00",
        b"GET / HTTP/1.1\r\nHost: a\rb",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a",
        b"GET / HTTP/1.1\r\nhost: a\r\nHOST: b",
        b"GET / HTTP/1.0\r\nHost: a\r\nHost: b",
        b"GET / HTTP/1.1\r\nHost: a b",
        b"GET / HTTP/1.1\r\nHost: a/b",
        b"GET / HTTP/1.1\r\nHost: a@b",
        b"GET / HTTP/1.1\r\nHost: a:b",
        b"GET / HTTP/1.1\r\nHost: a:1:2",
        b"GET / HTTP/1.1\r\nHost: a, b",
        b"GET / HTTP/1.1\r\nHost: http://a",
        b"GET / HTTP/1.1\r\nHost: <script>",
        b"GET / HTTP/1.1\r\nHost: a%zz",
        b"GET / HTTP/1.1\r\nHost: \xe4",
        b"GET / HTTP/1.1\r\nHost: ::1",
        b"GET / HTTP/1.1\r\nHost: [::1",
        b"GET / HTTP/1.1\r\nHost: [g]",
        b"GET / HTTP/1.0\r\nHost: a b",
        b"GET http:///metrics HTTP/1.1\r\nHost: a",
        b"GET http://a@b/metrics HTTP/1.1\r\nHost: a",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:  \t",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 2",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x10",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1e1",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \xb2",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 3",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 19,
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:",
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: b",
        b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\nOrigin: http://b",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_malformed_heads(head: bytes):
    """What is not a request of HTTP/1 is a client's error."""
    with pytest.raises(HttpError) as caught:
        parse_request(head)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"gateway",
        b"gateway.example:10042",
        b"192.0.2.1:80",
        b"[2001:db8::1]:10042",
        b"[fe80::1%25eth0.1]",
        b"[::ffff:192.0.2.1]",
        b"a_b~c:",
        b"%C3%A4.example",
    ],
)
def test_hosts(host: bytes):
    """Names, addresses and ports as RFC 3986 writes them are hosts."""
    assert parse_request(b"GET / HTTP/1.1\r\nHost: " + host).headers["host"] == host.decode()


@given(st.binary(max_size=300) | st.binary(max_size=300).map(b"GET / HTTP/1.1\r\nHost: ".__add__))
def test_any_bytes_are_a_request_or_an_error(head: bytes):
    """No input makes anything but a request or an HttpError."""
    try:
        request = parse_request(head)
    except HttpError:
        return
    assert request.path.startswith("/")


@pytest.mark.parametrize(
    ("accept_encoding", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("x-gzip", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;q=1.000", True),
        ("gzip;q=abc", False),
        ("gzip;q=nan", False),
        ("gzip;level=9", False),
        ("gzip;q=0.5, identity;q=0.6", False),
        ("gzip;q=0.5, identity;q=0.5", True),
        ("gzip, identity;q=0", True),
        ("identity", False),
        ("gzipped", False),
    ],
)
def test_gzip_is_asked_for(accept_encoding: str, accepted: bool):
    """Only a client that names gzip, and prefers nothing to it, gets it."""
    assert accepts_gzip(accept_encoding) is accepted


def test_the_head_of_a_response():
    """It tells length, type and date, forbids caching, and does not say what serves."""
    response = Response(405, b"four", headers=(("Allow", "GET"),))
    assert render_head(response, keep_alive=False, now=784111777.9).decode().split("\r\n") == [
        "HTTP/1.1 405 Method Not Allowed",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Length: 4",
        "Date: Sun, 06 Nov 1994 08:49:37 GMT",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        "Allow: GET",
        "",
        "",
    ]
