"""web/pages.py: which page a request gets, in which form."""

import gzip

import pytest
from prometheus_client.exposition import choose_encoder

from netfilter_exporter import __version__
from netfilter_exporter.collection import PAGE_TIMEOUT
from netfilter_exporter.web.pages import _timeout
from support.serving import collector

OPENMETRICS = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.1"


@pytest.fixture
def server(serve):
    return serve(collector("one"), collector("two"), known=["off"])


def metrics(body):
    """Return the names of the test's metrics on a page."""
    names = {line.split()[0].decode() for line in body.splitlines() if b"_test_" in line[:20]}
    return {name.removeprefix("netfilter_test_") for name in names}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"one", "two"}),
        ("?", {"one", "two"}),
        ("?collect[]=one", {"one"}),
        ("?collect%5B%5D=two&collect[]=one", {"one", "two"}),
        ("?exclude[]=one", {"two"}),
        ("?exclude[]=one&exclude[]=two", set()),
        ("?other=1", {"one", "two"}),
    ],
)
def test_collectors_are_chosen_by_the_query(server, query, expected):
    """collect[] serves only what it names, exclude[] all but what it names."""
    status, _, body = server.get(f"/metrics{query}")
    assert status == 200
    assert metrics(body) == expected


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("?collect[]=one&exclude[]=two", "collect[] and exclude[] cannot be combined"),
        ("?collect[]=three", "unknown collector: 'three'"),
        ("?exclude[]=%3Cb%3E%0A%C3%A4", r"unknown collector: '<b>\n\xe4'"),
        ("?collect[]=off", "disabled collector: off"),
        ("?" + "a=1&" * 200, "malformed query"),
    ],
)
def test_a_choice_that_cannot_be_is_a_clear_400(server, query, text):
    """A typing error is told, rather than served as an empty page."""
    status, headers, body = server.get(f"/metrics{query}")
    assert (status, body.decode()) == (400, text + "\n")
    assert headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=abc", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0;q=0.1,text/plain;q=0.9",
            "text/plain; version=0.0.4; charset=utf-8",
        ),
        (OPENMETRICS, choose_encoder(OPENMETRICS)[1]),  # of prometheus-client's version
    ],
)
def test_the_format_is_the_clients_choice(server, accept, content_type):
    """OpenMetrics for who asks for it, text for all others, malformed headers too."""
    status, headers, body = server.get(Accept=accept)
    assert (status, headers["Content-Type"]) == (200, content_type)
    assert body.endswith(b"# EOF\n") is ("openmetrics" in content_type)


def test_gzip_on_request(server):
    """Who accepts gzip gets it, and it holds the very page; q=0 means no."""
    _, headers, body = server.get(Accept_Encoding="gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert int(headers["Content-Length"]) == len(body)
    assert metrics(gzip.decompress(body)) == {"one", "two"}
    _, headers, body = server.get(Accept_Encoding="gzip;q=0")
    assert headers["Content-Encoding"] is None
    assert metrics(body) == {"one", "two"}


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy", "/nothing"])
def test_head_is_get_without_the_body(server, path):
    """HEAD has the status and the headers of GET, whose length may differ by a digit of time."""
    got, expected = server.get(path, method="HEAD"), server.get(path)
    assert (got[0], got[2]) == (expected[0], b"")
    assert list(got[1]) == list(expected[1])
    assert abs(int(got[1]["Content-Length"]) - int(expected[1]["Content-Length"])) < 20


def test_the_landing_page(server):
    """It tells the version and the collectors, and leads to the metrics."""
    status, headers, body = server.get("/")
    text = body.decode()
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert f"Version {__version__}" in text
    assert '<a href="/metrics">' in text
    assert "<b>two</b>: the two of the test" in text


def test_another_telemetry_path(serve):
    """--web.telemetry-path moves the metrics, and the landing page leads there."""
    server = serve(collector("one"), path="/a&b")
    assert metrics(server.get("/a&b")[2]) == {"one"}
    assert server.get("/metrics")[0] == 404
    assert b'<a href="/a&amp;b">' in server.get("/")[2]


def test_the_root_may_be_the_telemetry_path(serve):
    """Then there is no landing page."""
    assert metrics(serve(collector("one"), path="/").get("/")[2]) == {"one"}


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", PAGE_TIMEOUT),
        ("10", PAGE_TIMEOUT),
        ("5.000000", 4.5),
        ("0", 1),
        ("0.001", 1),
        ("9999", PAGE_TIMEOUT),
        ("nan", PAGE_TIMEOUT),
        ("1e9", PAGE_TIMEOUT),
        ("-5", PAGE_TIMEOUT),
        ("5" * 400, PAGE_TIMEOUT),
    ],
)
def test_the_scrapers_patience(header, seconds):
    """A page is made in less time than Prometheus waits; nobody can make all pages fail by it."""
    assert _timeout(header) == seconds
