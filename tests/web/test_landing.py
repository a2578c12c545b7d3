"""The landing page: what is broken, for a person with a browser."""

import dataclasses
import html.parser
import re
import threading
import time

import pytest

from netfilter_exporter import collectors
from netfilter_exporter.check import page
from support import checks
from support.serving import Running

VOID = {"meta", "link", "br"}


class Tree(html.parser.HTMLParser):
    """Reads a page strictly: each element is closed, in order."""

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.elements = []
        self.texts = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


def render(report, metrics="/metrics"):
    return page.render(report, [], metrics).decode()


@pytest.fixture
def server(fake_host):
    """Return a function that serves the pages of a recorded host."""
    running = []

    def start(name, **settings):
        system = fake_host(name).system
        running.append(Running(collectors.load().values(), system=system, **settings))
        return running[-1]

    yield start
    for each in running:
        each.close()


def test_it_tells_what_the_command_tells(server, fake_host):
    """Verdict, findings and remedies are on the page, with a link to the metrics."""
    report = checks.check(fake_host("6.1/forward-off"))
    status, headers, body = server("6.1/forward-off").get("/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    tree = Tree(body.decode())
    assert tree.texts["title"] == [f"{report.broken[0].severity.value}: netfilter exporter"]
    assert report.verdict in tree.texts["p"]
    for finding in report.broken:
        assert finding.summary in tree.texts["p"]
        assert "\n".join(finding.remedy) in tree.texts["pre"]
    assert ("a", {"href": "/metrics"}) in tree.elements


def test_collectors_with_their_status(server):
    """Each collector is listed with what it is for and how it went."""
    _, _, body = server("6.1/nat-legacy").get("/")
    text = re.sub(r"<[^>]+>", "", body.decode())
    for name, collector in collectors.load().items():
        assert re.search(rf"{name}: {re.escape(collector.help)}: (ok|no_data)", text), name


def test_no_script_and_nothing_from_elsewhere(server):
    """The page is one file: no script, no reference but the link to the metrics."""
    _, headers, body = server("6.1/forward-off").get("/")
    tree = Tree(body.decode())
    assert not {"script", "img", "iframe", "link"} & {tag for tag, _ in tree.elements}
    references = [a for _, attrs in tree.elements for a in attrs if a in {"src", "href", "style"}]
    assert references == ["href"]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")


def test_it_is_accessible(server):
    """It has a language, a title, one h1, headings in order, a main part, and no fixed width."""
    _, _, body = server("6.1/forward-off").get("/")
    tree = Tree(body.decode())
    assert ("html", {"lang": "en"}) in tree.elements
    headings = [int(tag[1]) for tag, _ in tree.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(headings, headings[1:]))
    assert [tag for tag, _ in tree.elements].count("main") == 1
    viewport = {"name": "viewport", "content": "width=device-width, initial-scale=1"}
    assert ("meta", viewport) in tree.elements


def luminance(colour):
    """Return the relative luminance of #rrggbb, as WCAG 2 defines it."""
    values = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_every_colour_can_be_read(fake_host, scheme):
    """Each colour of text has a contrast of 4.5 to 1 on each background of its scheme."""
    text = render(checks.check(fake_host("6.1/forward-off")))
    schemes = re.findall(r":root \{.*?--page.*?\}", text, re.DOTALL)
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", schemes[scheme]))
    assert len(colours) == 10
    for ground in "page", "box":
        for name in colours.keys() - {"page", "box"}:
            lighter, darker = sorted(
                (luminance(colours[name]), luminance(colours[ground])), reverse=True
            )
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (name, ground)


def test_names_of_the_host_are_escaped(fake_host):
    """What a rule is called cannot become markup."""
    evil = "</pre><script>alert(1)</script>&amp;"
    report = checks.check(fake_host("6.1/nat-nft"))
    (finding, *_) = report.broken
    broken = finding.__class__(evil, finding.severity, evil, evil, {evil: evil}, (evil, "x"), *())
    worst = dataclasses.replace(report, verdict=evil, works=(evil,), findings=(broken,))
    text = render(worst, metrics='/"><b>')
    tree = Tree(text)
    assert "script" not in {tag for tag, _ in tree.elements}
    assert evil in tree.texts["p"]
    assert text.count("<b>") == 1  # the severity


def test_one_collection_is_shared(server):
    """Ten peers that ask for the page and the metrics at once are not ten collections."""
    running = server("6.1/nat-legacy")
    running.get("/")
    made = []
    gather = running.gatherer.gather

    def slow(*arguments):
        made.append(arguments)
        time.sleep(0.2)
        return gather(*arguments)

    running.gatherer.gather = slow
    statuses = []
    threads = [
        threading.Thread(target=lambda path=path: statuses.append(running.get(path)[0]))
        for path in ["/", "/metrics"] * 5
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 10
    assert len(made) <= 3


def test_rates_are_not_made_up(server):
    """One look has no rates: the page says so, and names the command that measures them."""
    _, _, body = server("6.1/nat-legacy").get("/")
    assert b"not measured here: netfilter_exporter check" in body
