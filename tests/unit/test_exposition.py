"""exposition.py: the page in the format that was asked for, rendered only where it changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from netfilter_exporter.collectors.base import Metric
from netfilter_exporter.exposition import Exposition

GAUGE = Metric("rules", 'Rules\n"there" \\ now.', source="", samples=iter, labels=("chain",))
COUNTER = Metric("drop_total", "Drops.", source="", samples=iter)
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
TEXT_1 = "text/plain;version=1.0.0;escaping=allow-utf-8"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


def newest(accept):
    """The Content-Type of a format whose version depends on prometheus-client's."""
    return choose_encoder(accept)[1]


def page(families, accept=""):
    return Exposition().render(families, accept)[0].decode()


def samples(families):
    return {(s.name, *s.labels.values()): s.value for f in families for s in f.samples}


@pytest.mark.parametrize(
    ("accept", "parse"), [("", parse_text), (OPENMETRICS, parse_openmetrics)], ids=["text", "open"]
)
@given(name=st.text(max_size=20), value=st.integers(0, 1 << 53) | st.floats(allow_nan=False))
def test_what_goes_in_comes_out(accept, parse, name, value):
    """Any label value and number is read back by prometheus-client's parser of the format."""
    text = page([(GAUGE, (((name,), value),)), (COUNTER, (((), 7),))], accept)
    expected = {("netfilter_rules", name): float(value), ("netfilter_drop_total",): 7}
    assert samples(parse(text)) == expected


def test_a_family_without_samples_is_not_there():
    """What cannot be known leaves no trace, not even its help."""
    assert page([(GAUGE, ())]) == ""
    assert page([(GAUGE, ())], OPENMETRICS) == "# EOF\n"


def test_only_what_changed_is_rendered(monkeypatch):
    """A family is encoded again only when its samples are others, for each format."""
    exposition = Exposition()
    encoded = []
    real = exposition.render([], OPENMETRICS) and exposition._by_accept[OPENMETRICS]._encode

    def encode(registry):
        encoded.extend(family.name for family in registry.collect())
        return real(registry)

    monkeypatch.setattr(exposition._by_accept[OPENMETRICS], "_encode", encode)
    last = ["netfilter_rules", "netfilter_drop"]
    for drops, chain in ((1, "a"), (1, "a"), (2, "a"), (3, "b")):
        families = [(GAUGE, (((chain,), 5),)), (COUNTER, (((), drops),))]
        text, _ = exposition.render(families, OPENMETRICS)
        assert f"netfilter_drop_total {drops}.0\n" in text.decode()
        assert text.decode().endswith("# EOF\n")
    assert encoded == ["netfilter_rules", "netfilter_drop", "netfilter_drop", *last]


def test_a_number_that_is_none_is_left_out_and_comes_back(caplog):
    """What cannot be written costs its family, as long as it is there."""
    exposition = Exposition()
    texts = [
        exposition.render([(COUNTER, (((), number),))], "")[0].decode()
        for number in (1, "no number", 2)
    ]
    assert (texts[1], texts[2]) == ("", texts[0].replace("1.0", "2.0"))
    assert "drop_total is left out of the page" in caplog.text


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/openmetrics-text;version=abc", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=9.0.0", "text/plain; version=0.0.4"),
        (f"application/openmetrics-text;version=abc,{OPENMETRICS}", "application/openmetrics-text"),
        (f"{OPENMETRICS};q=0", "text/plain; version=0.0.4"),
        (TEXT_1, newest(TEXT_1)),
        ("application/openmetrics-text;version=0.0.1", "text/plain; version=0.0.4"),
    ],
)
def test_a_version_that_nobody_knows_is_passed_over(accept, content_type):
    """The next format that the client accepts is taken, else text."""
    assert Exposition().render([], accept)[1].startswith(content_type)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (f"{OPENMETRICS};q=0.1,text/plain;q=0.9", "text/plain; version=0.0.4"),
        (f"text/plain;q=0.1,{OPENMETRICS};q=0.9", "application/openmetrics-text"),
        (f"*/*,{OPENMETRICS}", "application/openmetrics-text"),
        (f"*/*;q=1,{OPENMETRICS};q=0.9", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("text/*;q=0.2,application/*;q=0.3", "application/openmetrics-text"),
        ("text/html", "text/plain; version=0.0.4"),
        (f"text/plain;version=0.0.4;q=0.3,{TEXT_1};q=0.4", newest(TEXT_1)),
        ("text/plain;q=0,*/*;q=0.1", "application/openmetrics-text"),
        ('Application/OpenMetrics-Text; Version="1.0.0"; Q=0.5', "application/openmetrics-text"),
        (f"{OPENMETRICS};q=2", "text/plain; version=0.0.4"),
        (PROMETHEUS_3, newest(f"{OPENMETRICS};escaping=allow-utf-8")),
        (
            "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "text/plain; version=0.0.4",  # Prometheus 2.20
        ),
    ],
)
def test_weights_decide(accept, content_type):
    """The heaviest format wins, then the one that the client names most exactly."""
    assert Exposition().render([], accept)[1].startswith(content_type)


@given(
    st.text(max_size=80)
    | st.lists(
        st.sampled_from(
            [
                "application/openmetrics-text",
                "text/plain",
                ";",
                ",",
                "version=",
                "q=",
                "1.0.0",
                "0",
                "²",
                "escaping=",
                "=",
            ]
        ),
        max_size=12,
    ).map("".join)
)
def test_any_accept_header_gives_a_page(accept):
    """No header breaks the page, and none gets into the answer's own headers."""
    text, content_type = Exposition().render([(COUNTER, (((), 7),))], accept)
    assert b"netfilter_drop_total 7.0\n" in text
    assert content_type.isascii()
    assert content_type.isprintable()


def test_memory_is_bounded():
    """Clients that invent Accept headers do not fill the memory."""
    exposition = Exposition()
    for number in range(100):
        exposition.render([(COUNTER, (((), 7),))], f"text/html;x={number}")
    assert len(exposition._by_accept) <= 8
